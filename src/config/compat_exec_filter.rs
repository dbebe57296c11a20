//! Old flat parameters of `exec_filter`, which names them by direction: `in_keys` for `<format> keys`, `out_keys` for `<parse> keys`.

use super::compat::Part;
use super::section::{Param, Section};

/// A section and the flat parameters that stand for its own.
type Table = (&'static str, &'static [(&'static str, &'static str)]);

/// For both directions at once.
const BOTH: &[(&str, [&str; 2])] = &[
    ("tag_key", ["in_tag_key", "out_tag_key"]),
    ("time_key", ["in_time_key", "out_time_key"]),
    ("time_format", ["in_time_format", "out_time_format"]),
];

const TABLES: &[Table] = &[
    ("inject", &[("in_tag_key", "tag_key"), ("in_time_key", "time_key"), ("in_time_format", "time_format")]),
    ("format", &[("in_format", "@type"), ("in_keys", "keys")]),
    ("parse", &[("out_format", "@type"), ("out_keys", "keys"), ("out_stream_buffer_size", "stream_buffer_size")]),
    ("extract", &[("out_tag_key", "tag_key"), ("out_time_key", "time_key"), ("out_time_format", "time_format")]),
];

/// Turns the flat parameters into sections; gives the parts that are left to [`super::normalize`].
pub fn exec_filter_parts(section: &mut Section) -> &'static [Part] {
    for (both, names) in BOTH {
        if let Some(at) = section.params.iter().position(|p| p.name == *both) {
            let param = section.params.remove(at);
            names.iter().for_each(|name| drop(section.set(Param { name: (*name).to_owned(), ..param.clone() })));
        }
    }
    for (name, table) in TABLES {
        let mut made = Section::new(*name, section.span.clone());
        for (flat, own) in *table {
            if let Some(at) = section.params.iter().position(|p| p.name == *flat) {
                made.set(Param { name: (*own).to_owned(), ..section.params.remove(at) });
            }
        }
        if !made.params.is_empty() && section.child(name).is_none() {
            section.children.push(made);
        }
    }
    &[Part::Buffer("")]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{LoadOptions, Surroundings, load_text};

    #[test]
    fn each_direction_gets_its_sections() {
        let text = "<match>\ncommand c\nin_keys a,b\nout_format json\nout_tag_key t\ntime_key when\n</match>";
        let mut section =
            load_text("t", text, &LoadOptions::new(Surroundings::default())).unwrap().root.children.remove(0);
        exec_filter_parts(&mut section);
        let made: String = section.children.iter().map(|c| c.to_fluentd_text(&|_| false)).collect();
        let made = made.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        assert_eq!(
            made,
            "<inject> time_key when </inject> <format> keys a,b </format> <parse> @type json </parse> \
             <extract> tag_key t time_key when </extract>"
        );
        assert_eq!(section.params.len(), 1);
    }
}
