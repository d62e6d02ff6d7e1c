//! QR codes as SVG: a white square, and one path with a rectangle for each run of dark modules in a row.

use std::fmt::Write as _;

use super::{QrCode, Size};

impl QrCode {
    /// The code as an SVG document. Its title is the URL, for people who cannot see it.
    pub(crate) fn svg(&self, size: Size) -> String {
        let margin = size.margin;
        let width = self.width(margin);
        let pixels = width * size.scale;
        let title = escaped(&self.text);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{pixels}\" height=\"{pixels}\" \
             viewBox=\"0 0 {width} {width}\" shape-rendering=\"crispEdges\" role=\"img\">\
             <title>{title}</title>\
             <rect width=\"{width}\" height=\"{width}\" fill=\"#fff\"/>\
             <path d=\"{}\"/></svg>\n",
            self.path(margin)
        )
    }

    /// The dark modules as a path.
    fn path(&self, margin: u32) -> String {
        let width = self.width(margin);
        let mut path = String::new();
        for row in 0..width {
            let mut column = 0;
            while column < width {
                let dark = (column..width).take_while(|&at| self.is_dark(margin, at, row));
                let run = dark.count();
                if run == 0 {
                    column += 1;
                    continue;
                }
                // Writing to a String does not fail.
                let _ = write!(path, "M{column} {row}h{run}v1h-{run}z");
                column += u32::try_from(run).unwrap_or(width);
            }
        }
        path
    }
}

/// A text as the content of an element.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::qr::Level;

    #[test]
    fn the_path_draws_each_dark_module_once() {
        let code = QrCode::of_url("https://a.b/", Level::M).unwrap();
        let svg = code.svg(Size {
            scale: 3,
            margin: 2,
        });
        assert!(
            svg.starts_with(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"75\" height=\"75\" viewBox=\"0 0 25 25\" "
            ),
            "{svg}"
        );
        assert!(svg.contains("<title>HTTPS://A.B</title>"), "{svg}");
        // The first row: two finder patterns of seven modules.
        assert!(svg.contains("d=\"M2 2h7v1h-7z"), "{svg}");
        assert!(svg.contains("M16 2h7v1h-7z"), "{svg}");
        let path = code.path(0);
        let drawn: u32 = path
            .split('M')
            .skip(1)
            .map(|run| {
                let length = run.split_once('h').unwrap().1;
                length.split_once('v').unwrap().0.parse::<u32>().unwrap()
            })
            .sum();
        let all = (0..21).flat_map(|y| (0..21).map(move |x| (x, y)));
        let dark = all.filter(|&(x, y)| code.is_dark(0, x, y)).count();
        assert_eq!(usize::try_from(drawn).unwrap(), dark);
    }

    #[test]
    fn titles_are_escaped() {
        assert_eq!(escaped("a<b>&amp;"), "a&lt;b&gt;&amp;amp;");
    }
}
