//! Requests that a web page has its visitor's browser send, for interfaces that no page has any business with.

use hyper::header::{HOST, HeaderMap, ORIGIN};

/// Whether a browser sends this for a page: it says so in `Origin` or `Sec-Fetch-Site` (W3C, Fetch Metadata). Somebody
/// who types an address in is no page.
pub fn is_from_a_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(|v| v.as_bytes());
    headers.contains_key(ORIGIN) || site.is_some_and(|site| !matches!(site, b"none" | b"same-origin"))
}

/// Whether the request is for this host itself by address or as `localhost`. A page can have any name resolve to
/// 127.0.0.1 and then counts as of the same origin; the name is still in `Host`.
pub fn is_for_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else { return true };
    let host = host.to_str().unwrap_or("?");
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.is_empty() || name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))])
    }

    #[test]
    fn a_page_is_known_by_what_its_browser_adds() {
        assert!(is_from_a_page(&headers("origin", "null")));
        assert!(is_from_a_page(&headers("sec-fetch-site", "cross-site")));
        assert!(is_from_a_page(&headers("sec-fetch-site", "same-site")));
        assert!(!is_from_a_page(&headers("sec-fetch-site", "none")) && !is_from_a_page(&HeaderMap::new()));
    }

    #[test]
    fn names_that_anybody_can_point_here_are_not_this_host() {
        for own in ["127.0.0.1:24444", "[::1]:24444", "LOCALHOST", "", "10.0.0.1"] {
            assert!(is_for_loopback(&headers("host", own)), "{own}");
        }
        for other in ["evil.example:24444", "localhost.evil.example", "127.0.0.1.evil.example", "[evil]"] {
            assert!(!is_for_loopback(&headers("host", other)), "{other}");
        }
    }
}
