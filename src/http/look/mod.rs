//! What the web page and the pages of the redirect host have in common: colours, text, the frame, cards and notices.

/// The common part of the style sheets.
macro_rules! ground {
    () => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src/http/look/ground.css"
        ))
    };
}

pub(super) use ground;
