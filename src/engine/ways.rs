//! Names of the ways that events take through rules, by what the configuration says of them: a buffer that several ways lead to
//! knows by them what it has of each. A name that meant something else after a change would cost events.

use sha2::{Digest, Sha256};

use crate::config::Section;
use crate::event::hex;

/// Tells apart what a section says of the events that come to rules: their sources, filters, and the ways between labels.
/// `None` where it says nothing of them, as outputs and settings of the process do.
pub(super) fn passage(section: &Section) -> Option<String> {
    if section.name == "system" {
        return None;
    }
    let kind = section.plugin_type();
    let is_way = matches!(section.name.as_str(), "match" | "store");
    let is_output = is_way && !matches!(kind, Some("relabel" | "rewrite_tag_filter"));
    let own = section.params.iter().filter(|_| !is_output).map(|param| format!("{} {:?}", param.name, param.value));
    let children = section.children.iter().filter(|child| !is_output || child.name == "store");
    let inner = children.filter_map(|child| Some(format!("<{} {}> {}", child.name, child.arg(), passage(child)?)));
    let parts: Vec<String> = own.chain(inner).collect();
    let is_any = !parts.is_empty();
    is_any.then(|| digest(parts))
}

/// 128 bits of the SHA-256 of parts, in hexadecimal digits: one taken for another would cost events.
pub(super) fn digest(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        let part = part.as_ref();
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex(&hash.finalize()[..16])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{LoadOptions, Surroundings, load_text};

    #[test]
    fn only_what_events_pass_on_their_way_to_rules_makes_them_other_streams() {
        let options = LoadOptions::new(Surroundings::default());
        let of = |text: &str| passage(&load_text("t.conf", text, &options).ok().unwrap().root);
        let source = "<source>\n@type sample\ntag a\n</source>\n";
        let kept = "<store>\n@type null\n</store>\n<store>\n@type relabel\n@label @A\n</store>\n";
        let whole = |kept: &str| of(&format!("{source}<match **>\n@type copy\n{kept}</match>\n"));
        let same = [
            format!("{source}<match **>\n@type copy\n{}</match>\n", kept.replace("null", "stdout")),
            format!("<system>\nworkers 1\n</system>\n{source}<match **>\n@type copy\n{kept}</match>\n"),
            format!(
                "{source}<match **>\n@type copy\n{kept}</match>\n<label @B>\n<match **>\n@type null\n</match>\n</label>\n"
            ),
        ];
        for text in same {
            assert_eq!(of(&text), whole(kept), "{text}");
        }
        let others = [kept.replace("@A", "@B"), String::new()].map(|kept| whole(&kept));
        assert!(!others.contains(&whole(kept)));
        let filter = "<label @A>\n<filter a.*>\n@type stdout\n</filter>\n</label>\n";
        assert_ne!(of(filter), of(&filter.replace("a.*", "b.*")));
    }
}
