//! The page: how the gateway is doing, in a browser, and the same figures for `tlsgate top`.
//!
//! Read only. Three files and what they ask for every second, `/page/data`; nothing comes from
//! anywhere else, and the browser is told to ask nobody else ([`POLICY`]). However many look, the
//! gateway is asked once a second, and for its inventory once in a while: see [`cache`].

mod cache;
pub mod inventory;
pub mod view;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::routes::{JSON, Shared, answer, unavailable};
pub(super) use cache::Cache;
use cache::Wish;

/// Where the figures are. Takes `since` (the number of the last moment that the reader has),
/// `listener`, `search`, and `inventory` (the number of the one that it has).
pub const DATA: &str = "/page/data";

/// No script, style, picture or connection but our own, none of them in the text of the page, and no
/// page around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// Path, type and text.
const FILES: [(&str, &str, &str); 7] = [
    ("/", "text/html; charset=utf-8", include_str!("page.html")),
    ("/page/page.css", "text/css; charset=utf-8", include_str!("page.css")),
    ("/page/page.js", SCRIPT, include_str!("page.js")),
    ("/page/charts.js", SCRIPT, include_str!("charts.js")),
    ("/page/map.js", SCRIPT, include_str!("map.js")),
    ("/page/words.js", SCRIPT, include_str!("words.js")),
    ("/page/icon.svg", "image/svg+xml", include_str!("icon.svg")),
];
const SCRIPT: &str = "text/javascript; charset=utf-8";

pub(super) fn router() -> Router<Shared> {
    let router = Router::new().route(DATA, get(data));
    FILES.into_iter().fold(router, |router, (path, kind, text)| {
        router.route(path, get(move || async move { file(kind, text) }))
    })
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // The next version's files have the same names.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers.map(|(name, value)| (name, HeaderValue::from_static(value))), text).into_response()
}

async fn data(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let wish = match Wish::parse(query.as_deref().unwrap_or_default()) {
        Ok(wish) => wish,
        Err(error) => {
            return answer(StatusCode::BAD_REQUEST, super::routes::TEXT, format!("{error}\n"));
        }
    };
    match shared.cache.answer(&shared.source, wish).await {
        Ok(text) => answer(StatusCode::OK, JSON, text),
        Err(error) => unavailable(&error),
    }
}

#[cfg(test)]
mod tests;
