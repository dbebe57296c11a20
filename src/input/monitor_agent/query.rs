//! What a request asks for.

use percent_encoding::percent_decode_str;

/// What is shown of each plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// Its parameters.
    pub(super) config: bool,
    /// Its retries.
    pub(super) retry: bool,
    /// JSON with indents.
    pub(super) debug: bool,
}

/// Which plugins are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All.
    All,
    /// The output that takes a tag.
    Tag(String),
    /// The one with an id.
    Id(String),
    /// Those of a type.
    Type(String),
}

/// Reads a query; `allowed` is what the configuration lets be shown. A query can only ask for less, and for indents.
pub(super) fn read(query: &str, allowed: Shown) -> (Wanted, Shown) {
    let pairs: Vec<(String, String)> = query.split('&').filter(|p| !p.is_empty()).map(pair).collect();
    let first = |names: &[&str]| {
        names.iter().find_map(|name| pairs.iter().find(|(n, _)| n == name)).map(|(_, value)| value.clone())
    };
    let wanted = first(&["tag"]).map(Wanted::Tag);
    let wanted = wanted.or_else(|| first(&["@id", "id"]).map(Wanted::Id));
    let wanted = wanted.or_else(|| first(&["@type", "type"]).map(Wanted::Type));
    let asked = |name: &str| first(&[name]).is_none_or(|v| matches!(v.as_str(), "true" | "yes" | ""));
    let shown = Shown {
        config: allowed.config && asked("with_config"),
        retry: allowed.retry && asked("with_retry"),
        debug: allowed.debug && first(&["debug"]).is_some(),
    };
    (wanted.unwrap_or(Wanted::All), shown)
}

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    let decoded = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
    (decoded(name), decoded(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_filter_in_fluentds_order_counts() {
        let all = Shown { config: true, retry: true, debug: false };
        assert_eq!(read("", all), (Wanted::All, all));
        assert_eq!(read("@type=a&%40id=b+c", all).0, Wanted::Id("b c".into()));
        assert_eq!(read("type=a&tag=x.y", all).0, Wanted::Tag("x.y".into()));
        let (_, shown) = read("with_config=no&with_retry=false&debug=1", all);
        assert_eq!(shown, Shown::default());
        assert_eq!(read("with_config=yes", Shown::default()).1, Shown::default());
        assert!(read("debug=1", Shown { debug: true, ..all }).1.debug);
    }
}
