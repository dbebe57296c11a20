//! OpenSSL cipher strings, as far as they name what rustls has.
//!
//! The grammar is that of `openssl ciphers`: items between `:`, `,` or blanks; `!x` and `-x` take away, `+x` at the front
//! only reorders, `a+b` means both. As in OpenSSL the string rules TLS 1.2 only; the suites of TLS 1.3 are always on.

use rustls::SupportedCipherSuite;
use rustls::crypto::ring::{ALL_CIPHER_SUITES, cipher_suite as suite};

/// OpenSSL's names and properties of the suites of TLS 1.2 that there are.
const TLS12: &[(SupportedCipherSuite, &str, &[&str])] = &[
    (
        suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        &["ECDSA", "AES", "AESGCM", "AES256"],
    ),
    (
        suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        &["ECDSA", "AES", "AESGCM", "AES128"],
    ),
    (suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305", &["ECDSA", "CHACHA20"]),
    (suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", &["RSA", "AES", "AESGCM", "AES256"]),
    (suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", &["RSA", "AES", "AESGCM", "AES128"]),
    (suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", &["RSA", "CHACHA20"]),
];

/// Words that mean every suite of TLS 1.2 there is: all of them are strong and have forward secrecy.
const EVERY: &[&str] = &[
    "ALL",
    "DEFAULT",
    "COMPLEMENTOFDEFAULT",
    "HIGH",
    "SECURE",
    "FIPS",
    "TLSV1.2",
    "ECDHE",
    "EECDH",
    "KECDHE",
    "KEECDH",
];

/// Beginnings of OpenSSL's words for what rustls does not have: weak, anonymous, without forward secrecy, or by national
/// standards.
const ABSENT: &[&str] = &[
    "ANULL", "ENULL", "NULL", "SSLV", "TLSV1", "EXP", "LOW", "MEDIUM", "MD5", "SHA", "RC", "DES", "3DES", "IDEA",
    "SEED", "CAMELLIA", "ARIA", "ADH", "AECDH", "DH", "EDH", "KDH", "KEDH", "KRSA", "KPSK", "KGOST", "KSRP", "PSK",
    "RSAPSK", "SRP", "DSS", "ADSS", "GOST", "CBC", "AES128-", "AES256-", "ECDHE-", "ECDH", "CCM", "AESCCM", "RSA-PSK",
    "DES-", "@",
];

/// What a cipher string comes to.
pub(super) struct Chosen {
    /// The suites, TLS 1.3 first.
    pub(super) suites: Vec<SupportedCipherSuite>,
    /// Items that name suites which there are none of here.
    pub(super) absent: Vec<String>,
}

/// Reads a cipher string.
///
/// Errors: a word that OpenSSL does not know either.
pub(super) fn choose(text: &str) -> Result<Chosen, String> {
    let (mut chosen, mut gone) = ([false; 6], [false; 6]);
    let mut absent = Vec::new();
    for item in text.split([':', ',', ' ', ';']).filter(|i| !i.is_empty()) {
        let (sign, name) = split_sign(item);
        let hits = matches(name)?;
        match sign {
            '!' => mark(&mut gone, hits),
            '-' => chosen.iter_mut().zip(hits).for_each(|(c, hit)| *c &= !hit),
            '+' => {}
            _ if hits == [false; 6] && !is_tls13(name) && !name.starts_with('@') => absent.push(item.to_owned()),
            _ => mark(&mut chosen, hits),
        }
    }
    let tls12 = TLS12.iter().zip(chosen.iter().zip(gone)).filter(|(_, (c, gone))| **c && !gone).map(|(s, _)| s.0);
    let suites = ALL_CIPHER_SUITES.iter().filter(|s| s.tls13().is_some()).copied().chain(tls12).collect();
    Ok(Chosen { suites, absent })
}

fn split_sign(item: &str) -> (char, &str) {
    match item.chars().next() {
        Some(sign @ ('!' | '-' | '+')) => (sign, &item[1..]),
        _ => (' ', item),
    }
}

fn mark(flags: &mut [bool; 6], hits: [bool; 6]) {
    flags.iter_mut().zip(hits).for_each(|(f, hit)| *f |= hit);
}

fn is_tls13(name: &str) -> bool {
    name.starts_with("TLS_AES_") || name.starts_with("TLS_CHACHA20_")
}

/// Which lines of [`TLS12`] an item means.
fn matches(item: &str) -> Result<[bool; 6], String> {
    let mut hits = [true; 6];
    if item.starts_with('@') || is_tls13(item) {
        return Ok([false; 6]);
    }
    for word in item.split('+') {
        let one =
            match_word(word).ok_or_else(|| format!("unknown cipher {word:?}. 'openssl ciphers' lists the names"))?;
        hits.iter_mut().zip(one).for_each(|(h, o)| *h &= o);
    }
    Ok(hits)
}

fn match_word(word: &str) -> Option<[bool; 6]> {
    let upper = word.to_ascii_uppercase();
    if EVERY.contains(&upper.as_str()) {
        return Some([true; 6]);
    }
    let named = |(suite, name, properties): &(SupportedCipherSuite, &str, &[&str])| {
        let iana = format!("{:?}", suite.suite());
        *name == upper || iana == upper || properties.iter().any(|p| *p == upper || upper.strip_prefix('A') == Some(*p))
    };
    let mut hits = [false; 6];
    hits.iter_mut().zip(TLS12).for_each(|(h, line)| *h = named(line));
    let known = hits.contains(&true) || upper.starts_with("TLS_") || ABSENT.iter().any(|a| upper.starts_with(a));
    known.then_some(hits)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(text: &str) -> Vec<&'static str> {
        let chosen = choose(text).unwrap().suites;
        TLS12.iter().filter(|(s, _, _)| chosen.contains(s)).map(|(_, name, _)| *name).collect()
    }

    #[test]
    fn the_default_of_fluentd_means_all() {
        assert_eq!(names("ALL:!aNULL:!eNULL:!SSLv2").len(), 6);
        assert_eq!(names("HIGH:!aNULL:!MD5:@STRENGTH").len(), 6);
    }

    #[test]
    fn names_and_properties_choose() {
        assert_eq!(names("ECDHE-RSA-AES128-GCM-SHA256"), ["ECDHE-RSA-AES128-GCM-SHA256"]);
        assert_eq!(names("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"), ["ECDHE-RSA-AES128-GCM-SHA256"]);
        assert_eq!(names("EECDH+AESGCM:!aRSA").len(), 2);
        assert_eq!(names("ALL:!AES128").len(), 4);
        assert_eq!(names("ALL:-CHACHA20").len(), 4);
        assert_eq!(names("TLS_AES_256_GCM_SHA384").len(), 0);
    }

    #[test]
    fn what_rustls_lacks_is_reported_and_what_nobody_knows_refused() {
        let chosen = choose("AES256-SHA:DHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384").unwrap();
        assert_eq!(chosen.absent, ["AES256-SHA", "DHE-RSA-AES256-GCM-SHA384"]);
        assert_eq!(chosen.suites.len(), 4);
        assert!(choose("NONSENSE").is_err_and(|e| e.contains("NONSENSE")));
    }
}
