//! Digests, Base64, random identifiers.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::event;
use crate::plugin::ruby::error::{Checked, Fault, Outcome};
use crate::plugin::ruby::methods::{Args, Def, FreeFn, def};
use crate::plugin::ruby::value::Val;
use crate::plugin::ruby::vm::Vm;

pub(crate) const TABLE: &[Def<FreeFn>] = &[
    def("Base64.decode64", 1, 1, decode64),
    def("Base64.encode64", 1, 1, encode64),
    def("Base64.strict_decode64", 1, 1, |vm, args| strict(vm, args, &STANDARD)),
    def("Base64.strict_encode64", 1, 1, |vm, args| {
        let made = STANDARD.encode(args.text(0)?);
        vm.string(made)
    }),
    def("Base64.urlsafe_decode64", 1, 1, |vm, args| strict(vm, args, &URL_SAFE_ANY)),
    def("Base64.urlsafe_encode64", 1, 1, |vm, args| {
        let made = URL_SAFE.encode(args.text(0)?);
        vm.string(made)
    }),
    def("Digest::SHA256.base64digest", 1, 1, |vm, args| {
        let made = STANDARD.encode(Sha256::digest(args.text(0)?));
        vm.string(made)
    }),
    def("Digest::SHA256.hexdigest", 1, 1, |vm, args| hex(vm, &Sha256::digest(args.text(0)?))),
    def("Digest::SHA384.hexdigest", 1, 1, |vm, args| hex(vm, &Sha384::digest(args.text(0)?))),
    def("Digest::SHA512.hexdigest", 1, 1, |vm, args| hex(vm, &Sha512::digest(args.text(0)?))),
    def("SecureRandom.hex", 0, 1, |vm, args| {
        let len = if args.list.is_empty() { 16 } else { args.count(0)?.min(MAX_RANDOM_BYTES) };
        let bytes = random(len)?;
        hex(vm, &bytes)
    }),
    def("SecureRandom.uuid", 0, 0, uuid),
];

/// Most random bytes of one call.
const MAX_RANDOM_BYTES: usize = 1024;

/// The URL alphabet, with or without padding.
const URL_SAFE_ANY: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING);

const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// Loose: bits that don't fill a byte are dropped.
const LOOSE: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING.with_decode_allow_trailing_bits(true));

fn hex<'s>(vm: &mut Vm<'s>, bytes: &[u8]) -> Outcome<'s> {
    vm.string(event::hex(bytes))
}

/// Lines of 60 characters, each with its end.
fn encode64<'s>(vm: &mut Vm<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let made: String = args.text(0)?.chunks(45).map(|line| STANDARD.encode(line) + "\n").collect();
    vm.string(made)
}

/// Takes what it can: other characters are skipped, and the first padding ends the text.
fn decode64<'s>(vm: &mut Vm<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let text = args.text(0)?;
    let known = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    let mut clean: Vec<u8> = text.iter().copied().take_while(|b| *b != b'=').filter(known).collect();
    // One character more than whole groups carries less than a byte.
    if clean.len() % 4 == 1 {
        clean.pop();
    }
    let made = LOOSE.decode(&clean).map_err(|e| Fault::argument(e.to_string()))?;
    bytes(vm, &made)
}

fn strict<'s>(vm: &mut Vm<'s>, args: Args<'_, 's>, engine: &GeneralPurpose) -> Outcome<'s> {
    let made = engine.decode(args.text(0)?).map_err(|_| Fault::argument("invalid base64"))?;
    bytes(vm, &made)
}

/// Decoded bytes: text where they are UTF-8.
fn bytes<'s>(vm: &mut Vm<'s>, made: &[u8]) -> Outcome<'s> {
    let kept = vm.keep(made)?;
    Ok(if std::str::from_utf8(kept).is_ok() { Val::Str(kept) } else { Val::Bin(kept) })
}

fn random(len: usize) -> Checked<Vec<u8>> {
    let mut bytes = vec![0; len];
    getrandom::fill(&mut bytes).map_err(|e| Fault::new("RuntimeError", e.to_string()))?;
    Ok(bytes)
}

fn uuid<'s>(vm: &mut Vm<'s>, _: Args<'_, 's>) -> Outcome<'s> {
    let mut b = random(16)?;
    // Version 4 and the variant of RFC 9562, section 5.4.
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let hex = event::hex(&b);
    vm.string([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}
