//! Published files, asked for conditionally (RFC 9110 §13), beside the card. A change is one swap: a reader gets the whole of
//! one version.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};
use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;

/// What is published, by path.
pub struct Published {
    card: ArcSwap<String>,
    shelf: ArcSwap<Shelf>,
    clock: Clock,
}

/// All files of one moment.
#[derive(Clone, Default)]
struct Shelf {
    files: BTreeMap<String, File>,
    /// Paths that answer 503 for now, files or not.
    closed: BTreeSet<String>,
}

/// A published file.
#[derive(Clone)]
struct File {
    media_type: &'static str,
    bytes: Bytes,
    /// SHA-256, in hexadecimal digits.
    sum: String,
    /// To the second. Grows with every version, or a client that asks by date would miss the second version of one second.
    modified: Timestamp,
}

impl Published {
    /// Nothing but `card`, the answer at `/`: the endpoints as JSON. `clock` dates what is published.
    pub fn new(card: String, clock: &Clock) -> Self {
        Self {
            card: ArcSwap::from_pointee(card),
            shelf: ArcSwap::default(),
            clock: clock.clone(),
        }
    }

    /// Publishes a file under a path such as `/CRL/x.crl`, or replaces it. The same bytes again keep their date.
    pub fn set(&self, path: &str, media_type: &'static str, bytes: &[u8]) {
        self.set_all(&[(path, media_type, bytes)]);
    }

    /// The same, with the `checksum` that the allow list's mirror has: in the same folder, as `sha256sum` writes and checks it.
    pub fn set_with_checksum(&self, path: &str, media_type: &'static str, bytes: &[u8]) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let checksum = format!("{}  {name}\n", sum(bytes));
        let beside = format!("{folder}/checksum");
        self.set_all(&[
            (path, media_type, bytes),
            (&beside, "text/plain; charset=utf-8", checksum.as_bytes()),
        ]);
    }

    /// From now on the path answers 503, or its file again: how an authority's service is played that cannot be reached.
    pub fn set_closed(&self, path: &str, closed: bool) {
        self.shelf.rcu(|before| {
            let mut after = Shelf::clone(before);
            if closed {
                after.closed.insert(path.to_owned());
            } else {
                after.closed.remove(path);
            }
            after
        });
    }

    /// The answer at `/` from now on.
    pub fn set_card(&self, card: String) {
        self.card.store(Arc::new(card));
    }

    /// The routes of this face.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/", get(card))
            .fallback_service(get(file).with_state(Arc::clone(self)))
            .with_state(Arc::clone(self))
    }

    fn set_all(&self, files: &[(&str, &'static str, &[u8])]) {
        let now = self.clock.now();
        self.shelf.rcu(|before| {
            let mut after = Shelf::clone(before);
            for (path, media_type, bytes) in files {
                let next = File::new(media_type, bytes, before.files.get(*path), now);
                after.files.insert((*path).to_owned(), next);
            }
            after
        });
    }
}

impl File {
    fn new(media_type: &'static str, bytes: &[u8], before: Option<&Self>, now: Timestamp) -> Self {
        let second = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let sum = sum(bytes);
        let modified = match before {
            Some(before) if before.sum == sum => before.modified,
            Some(before) => {
                let next = before.modified.saturating_add(SignedDuration::from_secs(1));
                second.max(next.unwrap_or(second))
            }
            None => second,
        };
        Self {
            media_type,
            bytes: Bytes::copy_from_slice(bytes),
            sum,
            modified,
        }
    }

    fn etag(&self) -> String {
        format!("\"{}\"", self.sum)
    }

    /// RFC 9110 §13.2.2: the entity tag decides when the client gives one, else the date.
    fn is_known(&self, request: &HeaderMap) -> bool {
        let text = |name: &HeaderName| request.get(name).and_then(|value| value.to_str().ok());
        match (text(&header::IF_NONE_MATCH), text(&header::IF_MODIFIED_SINCE)) {
            (Some(tags), _) => tags.split(',').map(str::trim).any(|tag| {
                // RFC 9110 §13.1.2: compared without regard to weakness.
                tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.etag()
            }),
            (None, Some(date)) => {
                let since = DateTimeParser::new().parse_timestamp(date);
                since.is_ok_and(|since| self.modified <= since)
            }
            (None, None) => false,
        }
    }

    fn respond(&self, request: &HeaderMap) -> Response {
        let modified = DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&self.modified)
            .unwrap_or_default();
        // Kept, but never used unasked: a revocation must be seen at once.
        let headers = [
            (header::ETAG, self.etag()),
            (header::LAST_MODIFIED, modified),
            (header::CACHE_CONTROL, "no-cache".to_owned()),
        ];
        if self.is_known(request) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        let media_type = [
            (header::CONTENT_TYPE, self.media_type),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        (headers, media_type, self.bytes.clone()).into_response()
    }
}

/// SHA-256, in hexadecimal digits.
fn sum(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(SUM_DIGITS);
    for byte in digest(&SHA256, bytes).as_ref() {
        for half in [byte >> 4, byte & 0x0f] {
            digits.extend(char::from_digit(u32::from(half), 16));
        }
    }
    digits
}

/// Of a SHA-256.
const SUM_DIGITS: usize = 64;

async fn card(State(published): State<Arc<Published>>) -> Response {
    let card = String::clone(&published.card.load());
    ([(header::CONTENT_TYPE, "application/json")], card).into_response()
}

async fn file(State(published): State<Arc<Published>>, uri: Uri, request: HeaderMap) -> Response {
    let shelf = published.shelf.load();
    if shelf.closed.contains(uri.path()) {
        return (StatusCode::SERVICE_UNAVAILABLE, "played as unreachable\n").into_response();
    }
    match shelf.files.get(uri.path()) {
        Some(file) => file.respond(&request),
        None => (StatusCode::NOT_FOUND, "nothing is published here\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "/list.xml";

    fn published() -> (Published, Clock) {
        let clock = Clock::manual("2026-11-21T05:00:00.5Z".parse().unwrap());
        let published = Published::new(String::new(), &clock);
        published.set_with_checksum(LIST, "application/xml", b"<one/>");
        (published, clock)
    }

    fn ask(published: &Published, headers: &[(HeaderName, &str)]) -> (u16, String) {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()));
        let file = published.shelf.load().files[LIST].clone();
        let response = file.respond(&headers.collect());
        let date = response.headers()[header::LAST_MODIFIED].to_str().unwrap().to_owned();
        (response.status().as_u16(), date)
    }

    #[test]
    fn a_version_the_client_has_is_not_sent_again() {
        let (published, _) = published();
        let tag = format!("\"{}\"", sum(b"<one/>"));
        let weak = format!("\"other\", W/{tag}");
        for (name, value) in [
            (header::IF_NONE_MATCH, tag.as_str()),
            (header::IF_NONE_MATCH, weak.as_str()),
            (header::IF_NONE_MATCH, "*"),
            (header::IF_MODIFIED_SINCE, "Sat, 21 Nov 2026 05:00:00 GMT"),
            (header::IF_MODIFIED_SINCE, "Sun, 22 Nov 2026 05:00:00 GMT"),
        ] {
            assert_eq!(ask(&published, &[(name, value)]).0, 304, "{value}");
        }
    }

    #[test]
    fn another_version_or_a_question_without_sense_gets_the_whole_file() {
        let (published, _) = published();
        for (name, value) in [
            (header::IF_NONE_MATCH, "\"other\""),
            (header::IF_NONE_MATCH, ""),
            (header::IF_MODIFIED_SINCE, "Sat, 21 Nov 2026 04:59:59 GMT"),
            (header::IF_MODIFIED_SINCE, "yesterday"),
        ] {
            assert_eq!(ask(&published, &[(name, value)]).0, 200, "{value}");
        }
        // The tag decides when both are there.
        let both = [
            (header::IF_NONE_MATCH, "\"other\""),
            (header::IF_MODIFIED_SINCE, "Sun, 22 Nov 2026 05:00:00 GMT"),
        ];
        assert_eq!(ask(&published, &both).0, 200);
    }

    #[test]
    fn two_versions_of_one_second_have_two_dates_and_the_same_bytes_keep_theirs() {
        let (published, clock) = published();
        assert_eq!(ask(&published, &[]).1, "Sat, 21 Nov 2026 05:00:00 GMT");
        published.set(LIST, "application/xml", b"<two/>");
        assert_eq!(ask(&published, &[]).1, "Sat, 21 Nov 2026 05:00:01 GMT");
        clock.advance(SignedDuration::from_hours(1));
        published.set(LIST, "application/xml", b"<two/>");
        assert_eq!(ask(&published, &[]).1, "Sat, 21 Nov 2026 05:00:01 GMT");
        published.set(LIST, "application/xml", b"<three/>");
        assert_eq!(ask(&published, &[]).1, "Sat, 21 Nov 2026 06:00:00 GMT");
    }

    #[test]
    fn the_checksum_is_that_of_the_file_beside_it() {
        let (published, _) = published();
        let shelf = published.shelf.load();
        let expected = format!("{}  list.xml\n", shelf.files[LIST].sum);
        assert_eq!(shelf.files["/checksum"].bytes, expected.as_bytes());
    }
}
