//! The parameters of service bindings: SVCB and HTTPS (RFC 9460).
//!
//! `domain` reads them as well, but misreads values behind a key's number (`key1=\002h2`): these are in wire
//! form, and it reads them in the text form of the key.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use domain::utils::base64;

use super::super::lexer::Token;
use super::super::unquote_bytes;
use super::RdataError;
use super::fields::{Fields, Own, Wire, decimal};

/// RFC 9460 §2.1 and §2.2: zero or more parameters.
pub(super) const PARAMETERS: Own = Own { read, take };

const MANDATORY: u16 = 0;
const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;
/// RFC 9460 §14.3.2: "Reserved ('Invalid key')".
const INVALID_KEY: u16 = 65_535;
/// The longest value, in bytes: its length has 16 bits.
const MAX_VALUE_LEN: usize = 65_535;

/// A key whose value has a form of its own.
struct Key {
    name: &'static str,
    number: u16,
    form: Form,
}

/// The form of a value.
#[derive(Clone, Copy)]
enum Form {
    Keys,
    Protocols,
    Nothing,
    Port,
    Ipv4,
    Ipv6,
    Config,
    Path,
    Groups,
}

const fn key(number: u16, name: &'static str, form: Form) -> Key {
    Key { name, number, form }
}

/// RFC 9460 §14.3.2, RFC 9461 §5 (dohpath), RFC 9540 §4 (ohttp), and the registry.
const KEYS: [Key; 10] = [
    key(MANDATORY, "mandatory", Form::Keys),
    key(ALPN, "alpn", Form::Protocols),
    key(NO_DEFAULT_ALPN, "no-default-alpn", Form::Nothing),
    key(3, "port", Form::Port),
    key(4, "ipv4hint", Form::Ipv4),
    key(5, "ech", Form::Config),
    key(6, "ipv6hint", Form::Ipv6),
    key(7, "dohpath", Form::Path),
    key(8, "ohttp", Form::Nothing),
    key(9, "tls-supported-groups", Form::Groups),
];

/// The value of a parameter, and its token for messages.
struct Parameter<'e, 't> {
    value: Vec<u8>,
    token: &'e Token<'t>,
}

fn read(fields: &mut Fields<'_, '_>) -> Result<(), RdataError> {
    let mut all: BTreeMap<u16, Parameter> = BTreeMap::new();
    while let Some(token) = fields.peek() {
        let (key, value) = parameter(token.raw).map_err(|why| fields.bad(token, &why))?;
        if all.insert(key, Parameter { value, token }).is_some() {
            return Err(fields.bad(token, "this parameter occurs twice"));
        }
        fields.take("parameter")?;
    }
    let parameters: Vec<_> = all.iter().map(|(key, p)| (*key, &p.value[..])).collect();
    if let Some((key, why)) = contradiction(&parameters) {
        return match all.get(&key) {
            Some(culprit) => Err(fields.bad(culprit.token, why)),
            None => Ok(()),
        };
    }
    for (key, value) in parameters {
        fields.put(key.into(), 2);
        fields.put(value.len() as u64, 2);
        fields.wire.extend_from_slice(value);
    }
    Ok(())
}

/// RFC 9460 §2.2: the parameters in the order of their keys, each key once.
fn take(wire: &mut Wire<'_>) -> Option<()> {
    let mut all: Vec<(u16, &[u8])> = Vec::new();
    while !wire.0.is_empty() {
        let mut number = || Some(u16::from_be_bytes(wire.take(2)?.try_into().ok()?));
        let (key, len) = (number()?, number()?);
        let value = wire.take(len.into())?;
        let is_next = all.last().is_none_or(|&(last, _)| last < key);
        if !is_next || !is_legal(key, value) {
            return None;
        }
        all.push((key, value));
    }
    contradiction(&all).is_none().then_some(())
}

/// Reads `key` or `key=value` and returns the value in wire form.
fn parameter(raw: &[u8]) -> Result<(u16, Vec<u8>), String> {
    let split = raw.iter().position(|&byte| byte == b'=');
    let (name, value) = match split {
        Some(split) => (&raw[..split], &raw[split + 1..]),
        None => (raw, &b""[..]),
    };
    let name = String::from_utf8_lossy(name);
    let known = KEYS.iter().find(|key| key.name == name);
    let number = match known {
        Some(key) => Some(key.number),
        None => numbered(&name),
    };
    let number = number
        .ok_or_else(|| format!("{name:?} is not a known key; write other keys as keyNNNNN"))?;
    let value = unquote_bytes(value);
    let wire = value.and_then(|value| match known {
        Some(key) => encode(key.form, value),
        // RFC 9460 §2.1: the value "in wire format".
        None => Some(value),
    });
    let wire = wire.filter(|wire| wire.len() <= MAX_VALUE_LEN && is_legal(number, wire));
    let wire = wire.ok_or_else(|| format!("the value of {name} is not {}", expected(number)))?;
    Ok((number, wire))
}

/// The number of `keyNNNNN`, which has no leading zeros.
fn numbered(name: &str) -> Option<u16> {
    let digits = name.strip_prefix("key")?;
    let number = u16::try_from(decimal(digits.as_bytes())?).ok()?;
    (number != INVALID_KEY && number.to_string() == digits).then_some(number)
}

fn form_of(number: u16) -> Option<Form> {
    let key = KEYS.iter().find(|key| key.number == number);
    key.map(|key| key.form)
}

/// What a value must be, for a message.
fn expected(number: u16) -> &'static str {
    match form_of(number) {
        Some(Form::Keys) => "a list of other keys, each once",
        Some(Form::Protocols) => "a list of protocol names of 1 to 255 bytes",
        Some(Form::Nothing) => "empty",
        Some(Form::Port) => "a port",
        Some(Form::Ipv4) => "a list of IPv4 addresses",
        Some(Form::Ipv6) => "a list of IPv6 addresses",
        Some(Form::Config) => "in base 64",
        Some(Form::Path) => "a path with the variable dns, as /dns-query{?dns}",
        Some(Form::Groups) => "a list of group numbers, each once",
        None => "a string",
    }
}

/// Turns a value into wire form; none if its text does not have the right form.
fn encode(form: Form, value: Vec<u8>) -> Option<Vec<u8>> {
    let text = || std::str::from_utf8(&value).ok();
    Some(match form {
        Form::Nothing | Form::Path => value,
        Form::Protocols => protocols(&value)?,
        Form::Config => base64::decode(text()?).ok()?,
        Form::Port => u16::try_from(decimal(&value)?).ok()?.to_be_bytes().into(),
        Form::Ipv4 => list(text()?, |item| {
            Some(Ipv4Addr::from_str(item).ok()?.octets())
        })?,
        Form::Ipv6 => list(text()?, |item| {
            Some(Ipv6Addr::from_str(item).ok()?.octets())
        })?,
        Form::Groups => list(text()?, |item| {
            let number = u16::try_from(decimal(item.as_bytes())?).ok()?;
            Some(number.to_be_bytes())
        })?,
        Form::Keys => {
            let number = |item: &str| {
                let known = KEYS.iter().find(|key| key.name == item);
                known.map(|key| key.number).or_else(|| numbered(item))
            };
            let keys: Option<Vec<u16>> = text()?.split(',').map(number).collect();
            let mut keys = keys?;
            // RFC 9460 §8: the wire form is sorted.
            keys.sort_unstable();
            keys.into_iter().flat_map(u16::to_be_bytes).collect()
        }
    })
}

fn list<const N: usize>(text: &str, item: impl Fn(&str) -> Option<[u8; N]>) -> Option<Vec<u8>> {
    let items: Option<Vec<_>> = text.split(',').map(item).collect();
    Some(items?.concat())
}

/// Names of protocols, each with its length before it. The list has escapes of its own, beside those of the
/// string that contains it (RFC 9460 appendix A.1).
fn protocols(list: &[u8]) -> Option<Vec<u8>> {
    let mut names = vec![Vec::new()];
    let mut bytes = list.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b',' => names.push(Vec::new()),
            b'\\' => names.last_mut()?.push(*bytes.next()?),
            byte => names.last_mut()?.push(byte),
        }
    }
    let mut wire = Vec::new();
    for name in names {
        wire.push(u8::try_from(name.len()).ok()?);
        wire.extend(name);
    }
    Some(wire)
}

/// Whether a value in wire form is legal for this key.
fn is_legal(key: u16, value: &[u8]) -> bool {
    let is_list = |len: usize| !value.is_empty() && value.len().is_multiple_of(len);
    match form_of(key) {
        None => key != INVALID_KEY,
        Some(Form::Nothing) => value.is_empty(),
        Some(Form::Port) => value.len() == 2,
        Some(Form::Ipv4) => is_list(4),
        Some(Form::Ipv6) => is_list(16),
        Some(Form::Config) => !value.is_empty(),
        // RFC 9461 §5: a template "MUST contain a 'dns' variable". Clients check the rest.
        Some(Form::Path) => {
            let text = std::str::from_utf8(value);
            text.is_ok_and(|text| text.starts_with('/') && text.contains("dns"))
        }
        // RFC 9460 §8: "in strictly increasing numeric order", and without the key `mandatory`.
        Some(Form::Keys) => {
            let keys = value.chunks(2);
            is_list(2) && value[..2] != [0, 0] && keys.is_sorted_by(|a, b| a < b)
        }
        Some(Form::Groups) => {
            let mut groups: Vec<_> = value.chunks(2).collect();
            groups.sort_unstable();
            is_list(2) && groups.is_sorted_by(|a, b| a < b)
        }
        Some(Form::Protocols) => are_protocols(value),
    }
}

/// RFC 9460 §7.1.1: one or more names, each of one or more bytes with its length before it.
fn are_protocols(value: &[u8]) -> bool {
    let mut rest = value;
    while let Some((&len, tail)) = rest.split_first() {
        match tail.split_at_checked(len.into()) {
            Some((_, tail)) if len > 0 => rest = tail,
            _ => return false,
        }
    }
    !value.is_empty()
}

/// Checks parameters, in the order of their keys, against each other. Returns the key of a wrong one, and why.
fn contradiction(all: &[(u16, &[u8])]) -> Option<(u16, &'static str)> {
    let find = |wanted: u16| all.binary_search_by_key(&wanted, |&(key, _)| key);
    let has = |key| find(key).is_ok();
    let listed = find(MANDATORY).map_or(&[][..], |place| all[place].1);
    let is_missing = |key: &[u8]| !has(u16::from_be_bytes([key[0], key[1]]));
    // The values have been checked: this one has an even length.
    if listed.chunks_exact(2).any(is_missing) {
        // RFC 9460 §8
        return Some((MANDATORY, "a key that mandatory lists is missing"));
    }
    if has(NO_DEFAULT_ALPN) && !has(ALPN) {
        // RFC 9460 §7.1.1
        return Some((NO_DEFAULT_ALPN, "no-default-alpn needs alpn"));
    }
    None
}
