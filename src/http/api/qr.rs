//! The QR code of a link's short URL.
//!
//! The code depends on the link's name and on how short URLs are written, and not on where the link leads. So its
//! entity tag is not the version of the link, but made from the image: it stays when the link changes, and changes when
//! the configuration gives short URLs another scheme.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderMap, HeaderValue};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use ring::digest::{SHA256, digest};
use serde::Deserialize;

use super::conditions::Tags;
use super::links::etag_header;
use super::{Admin, query};
use crate::access::Caller;
use crate::base::qr::{DEFAULT_MARGIN, DEFAULT_SCALE, Level, MAX_MARGIN, MAX_SCALE, QrCode, Size};
use crate::http::problem::{Kind, Problem};
use crate::link::Version;
use crate::store::StoreError;

/// What an image is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Format {
    #[default]
    Svg,
    Png,
}

impl Format {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Svg => "image/svg+xml",
            Self::Png => "image/png",
        }
    }

    const fn extension(self) -> &'static str {
        match self {
            Self::Svg => "svg",
            Self::Png => "png",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QrQuery {
    zone: Option<String>,
    format: Option<String>,
    scale: Option<String>,
    margin: Option<String>,
    level: Option<String>,
}

/// How the image looks.
#[derive(Clone, Copy, Debug)]
struct Look {
    format: Format,
    size: Size,
    level: Level,
}

impl QrQuery {
    fn look(&self) -> Result<Look, Problem> {
        let size = Size {
            scale: number(self.scale.as_deref(), "scale", 1, MAX_SCALE, DEFAULT_SCALE)?,
            margin: number(
                self.margin.as_deref(),
                "margin",
                0,
                MAX_MARGIN,
                DEFAULT_MARGIN,
            )?,
        };
        let format = match self.format.as_deref() {
            None => Format::default(),
            Some("svg") => Format::Svg,
            Some("png") => Format::Png,
            Some(_) => return Err(refused("format", "\"format\" is svg or png")),
        };
        let level = match &self.level {
            None => Level::default(),
            Some(text) => text
                .parse()
                .map_err(|_| refused("level", "\"level\" is L, M, Q or H"))?,
        };
        Ok(Look {
            format,
            size,
            level,
        })
    }
}

fn refused(parameter: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(Kind::InvalidQuery, detail.into()).of(parameter)
}

/// A parameter that is a number.
pub(super) fn number(
    text: Option<&str>,
    name: &'static str,
    least: u32,
    most: u32,
    default: u32,
) -> Result<u32, Problem> {
    let Some(text) = text else {
        return Ok(default);
    };
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = is_number.then(|| text.parse().ok()).flatten();
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| refused(name, format!("{name:?} is a number from {least} to {most}")))
}

/// `GET /v1/links/{code}/qr`
pub(super) async fn read(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    code: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query: QrQuery = query(&uri)?;
    let look = query.look()?;
    let name = admin.name_in(&caller, code, query.zone.as_deref())?;
    let unless = Tags::if_none_match(&headers)?;
    let link = admin.links.get(&name).await?;
    let short_url = admin.short_urls.url_of(&link.name);
    // A large image takes some milliseconds, for which other requests should not wait.
    let drawn = tokio::task::spawn_blocking(move || draw(&short_url, look)).await;
    let image = drawn.map_err(|broken| StoreError::Unavailable(broken.to_string()))??;
    let tag = tag_of(&image);
    if unless.is_some_and(|tags| tags.matches_weakly(tag)) {
        return Ok((StatusCode::NOT_MODIFIED, etag_header(tag), ()).into_response());
    }
    let content_type = HeaderValue::from_static(look.format.media_type());
    // A code has letters, digits and hyphens only.
    let file = format!(
        "inline; filename=\"{}.{}\"",
        link.name.code(),
        look.format.extension()
    );
    let headers = [(CONTENT_TYPE, content_type)];
    let disposition = [(CONTENT_DISPOSITION, file)];
    Ok((headers, disposition, etag_header(tag), image).into_response())
}

fn draw(short_url: &str, look: Look) -> Result<Vec<u8>, Problem> {
    let code = QrCode::of_url(short_url, look.level);
    let code = code.map_err(|error| refused("level", error.to_string()))?;
    Ok(match look.format {
        Format::Svg => code.svg(look.size).into_bytes(),
        Format::Png => code.png(look.size),
    })
}

/// The entity tag of a body. It is a number, as those of links are.
pub(super) fn tag_of(body: &[u8]) -> Version {
    let digest = digest(&SHA256, body);
    let first = digest.as_ref().first_chunk().copied().unwrap_or_default();
    Version(u64::from_be_bytes(first))
}
