//! The canonical form of JSON that signatures and key ids are made over (TUF 1.0.34 §4.1: OLPC canonical JSON).
//!
//! Never here: what is signed. The form is written straight from the JSON text, so members that no type knows are kept.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// The canonical form of the JSON text `json`: members sorted by code point, no spaces, only `"` and `\` escaped.
///
/// # Errors
/// Text that is not JSON, a number that is not a whole one of 64 bits, or a member that stands twice: two readers
/// could take one signature for two meanings.
pub fn of(json: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::from_slice::<Form>(json).map(|form| form.0)
}

/// The canonical form of `value` as serde writes it.
///
/// # Errors
/// As [`of`]; and what `value` itself refuses to write.
pub fn to_vec(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    of(&serde_json::to_vec(value)?)
}

/// The canonical bytes of one JSON value.
struct Form(Vec<u8>);

impl<'de> Deserialize<'de> for Form {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut out = Vec::new();
        Write(&mut out).deserialize(deserializer)?;
        Ok(Self(out))
    }
}

/// Appends the canonical form of what it reads.
struct Write<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Write<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Write<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value whose numbers are whole")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.extend(b"null");
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.0.extend(value.to_string().as_bytes());
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.0.extend(value.to_string().as_bytes());
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.0.extend(value.to_string().as_bytes());
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        quote(value, self.0);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.0.push(b'[');
        let first = self.0.len();
        loop {
            let before = self.0.len();
            if before > first {
                self.0.push(b',');
            }
            if items.next_element_seed(Write(self.0))?.is_none() {
                self.0.truncate(before);
                break;
            }
        }
        self.0.push(b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut sorted = BTreeMap::new();
        while let Some((name, Form(value))) = members.next_entry::<String, Form>()? {
            if sorted.contains_key(&name) {
                return Err(A::Error::custom(format_args!("the member {name:?} stands twice")));
            }
            sorted.insert(name, value);
        }
        self.0.push(b'{');
        for (position, (name, value)) in sorted.iter().enumerate() {
            if position > 0 {
                self.0.push(b',');
            }
            quote(name, self.0);
            self.0.push(b':');
            self.0.extend(value);
        }
        self.0.push(b'}');
        Ok(())
    }
}

fn quote(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(json: &str) -> Option<String> {
        of(json.as_bytes()).ok().map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn members_are_sorted_spaces_dropped_and_only_two_characters_escaped() {
        let json = r#" { "b" : [ 1 , -2, true, null, [], {} ], "a": "l\n\"\\\u00e9\u0001", "B": {"z":0,"é":1,"y":2} } "#;
        let canonical =
            "{\"B\":{\"y\":2,\"z\":0,\"é\":1},\"a\":\"l\n\\\"\\\\é\u{1}\",\"b\":[1,-2,true,null,[],{}]}";
        assert_eq!(form(json).unwrap(), canonical);
    }

    #[test]
    fn what_has_no_one_meaning_is_refused() {
        for bad in
            ["1.0", "1e3", "-0", "18446744073709551616", r#"{"a":1,"a":1}"#, "[1", "1 2", "", "\"\u{1}\""]
        {
            assert!(form(bad).is_none(), "{bad}");
        }
        let said = of(b"[1.5]").unwrap_err().to_string();
        assert!(said.contains("whole"), "{said}");
        assert!(form(&"[".repeat(200)).is_none(), "depth is bounded");
        assert_eq!(form("18446744073709551615").unwrap(), "18446744073709551615");
    }

    /// Another crate of the workspace could switch these features on for everybody, and break every signature.
    #[test]
    fn serde_json_is_compiled_without_the_features_that_change_how_json_is_read() {
        let value: serde_json::Value = serde_json::from_str(r#"{"b":1,"a":2}"#).unwrap();
        assert_eq!(value.to_string(), r#"{"a":2,"b":1}"#, "preserve_order is on");
        assert!(serde_json::from_str::<serde_json::Value>("1e400").is_err(), "arbitrary_precision is on");
        let nearest: f64 = "122.416294033786585".parse().unwrap();
        let quick: f64 = serde_json::from_str("122.416294033786585").unwrap();
        assert_ne!(nearest.to_bits(), quick.to_bits(), "float_roundtrip is on");
    }
}
