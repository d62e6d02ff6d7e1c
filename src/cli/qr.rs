//! `tinyns qr`: the QR code of a link's short URL, drawn in the terminal or written to a file.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::access::{AccessArgs, token_environment};
use super::client::Client;
use super::link_ref::LinkRef;
use super::outcome::{Exit, UsageError};
use super::output::write;
use super::output_file::OutputFile;
use crate::base::qr::{
    DEFAULT_MARGIN, DEFAULT_SCALE, Ink, Level, MAX_MARGIN, MAX_SCALE, NoLevel, QrCode, Size,
};
use crate::base::text::one_line;
use crate::link::Origin;

pub(super) const QR_HELP: &str = concat!(
    "\
Examples:
  tinyns qr sale
  tinyns qr sale.s.example.com -o sale.svg
  tinyns qr sale -o sale.png --scale 20 --level Q
  tinyns qr sale --format svg > sale.svg

Without -o and --format, the code is drawn in the terminal, in black on white. In a file or a
pipe, the drawing has no colours, and fits light text on a dark ground. The code has the short URL
in capitals, which make it smaller and are the same to browsers.",
    token_environment!()
);

#[derive(Debug, Args)]
pub(super) struct QrArgs {
    /// The link: its code, full name or short URL
    pub(super) link: LinkRef,
    /// The file to write; its ending .svg, .png or .txt is the format. - is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// The format
    #[arg(
        long,
        value_enum,
        value_name = "text|svg|png",
        hide_possible_values = true
    )]
    pub(super) format: Option<QrFormat>,
    /// The size of a module in svg and png, in pixels: 1 to 40
    #[arg(
        long,
        value_name = "PIXELS",
        default_value_t = DEFAULT_SCALE,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SCALE))
    )]
    pub(super) scale: u32,
    /// The width of the white margin, in modules: 0 to 16; readers need 4 on a dark ground
    #[arg(
        long,
        value_name = "MODULES",
        default_value_t = DEFAULT_MARGIN,
        value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_MARGIN))
    )]
    pub(super) margin: u32,
    /// How much of the code may be damaged, at least: L 7%, M 15%, Q 25%, H 30%
    #[arg(
        long,
        value_name = "L|M|Q|H",
        default_value = "M",
        value_parser = level
    )]
    pub(super) level: Level,
    /// The zone of the link; by default the server's first zone
    #[arg(long, value_name = "ORIGIN", value_parser = Origin::parse)]
    pub(super) zone: Option<Origin>,
    #[command(flatten)]
    pub(super) access: AccessArgs,
}

/// The format of a QR code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum QrFormat {
    /// Half blocks
    Text,
    /// Scalable Vector Graphics
    Svg,
    /// Portable Network Graphics, one bit per pixel
    Png,
}

/// Draws the QR code of a link.
///
/// # Errors
/// There is no such link, it has no short URL, or the file cannot be written.
pub(super) fn run(args: QrArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let zone = args.link.zone(args.zone.clone());
    let zone = zone.map_err(|error| UsageError(error.to_string()))?;
    let output = args
        .output
        .as_deref()
        .filter(|path| *path != Path::new("-"));
    let on_terminal = output.is_none() && io::stdout().is_terminal();
    let format = match (args.format, output) {
        (Some(format), _) => format,
        (None, None) => QrFormat::Text,
        (None, Some(path)) => format_of(path)?,
    };
    if format == QrFormat::Png && on_terminal {
        let text = "a PNG is no text for a terminal; name a file with -o";
        return Err(UsageError(text.into()).into());
    }
    let client = Client::new(&args.access, config)?;
    let code = &args.link.code;
    let answer = client.api.get(&client.token, zone.as_ref(), code)?;
    let short_url = answer.link.short_url.as_deref();
    let short_url = short_url.with_context(|| {
        format!(
            "{} has no short URL, since its server has no redirect host",
            answer.link.name
        )
    })?;
    let image = draw(&args, format, short_url, on_terminal)?;
    let Some(path) = output else {
        write(&image)?;
        return Ok(Exit::Done);
    };
    let file = OutputFile::open(path)?;
    let written = (&*file.file).write_all(&image);
    written.with_context(|| format!("cannot write {}", path.display()))?;
    file.keep()?;
    Ok(Exit::Done)
}

/// A level, also in small letters.
fn level(text: &str) -> Result<Level, NoLevel> {
    text.to_ascii_uppercase().parse()
}

/// The format that the ending of a file's name means.
fn format_of(path: &Path) -> Result<QrFormat, UsageError> {
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    match ending.to_ascii_lowercase().as_str() {
        "svg" => Ok(QrFormat::Svg),
        "png" => Ok(QrFormat::Png),
        "txt" => Ok(QrFormat::Text),
        _ => {
            let text = format!(
                "the name {} ends with none of .svg, .png and .txt; name the format with --format",
                path.display()
            );
            Err(UsageError(text))
        }
    }
}

/// The QR code in a format. A drawing has the short URL below it.
fn draw(
    args: &QrArgs,
    format: QrFormat,
    short_url: &str,
    on_terminal: bool,
) -> anyhow::Result<Vec<u8>> {
    let code = QrCode::of_url(short_url, args.level)?;
    let size = Size {
        scale: args.scale,
        margin: args.margin,
    };
    Ok(match format {
        QrFormat::Svg => code.svg(size).into_bytes(),
        QrFormat::Png => code.png(size),
        QrFormat::Text => {
            let ink = match on_terminal {
                true => Ink::Colours,
                false => Ink::Light,
            };
            let drawing = code.blocks(args.margin, ink);
            format!("{drawing}{}\n", one_line(short_url)).into_bytes()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_is_the_format() {
        let check = |name: &str, expected: Option<QrFormat>| {
            assert_eq!(format_of(Path::new(name)).ok(), expected, "{name}");
        };
        check("a.svg", Some(QrFormat::Svg));
        check("/tmp/a.b.PNG", Some(QrFormat::Png));
        check("a.txt", Some(QrFormat::Text));
        check("a.jpg", None);
        check("svg", None);
    }
}
