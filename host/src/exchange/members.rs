//! The members of a JSON object, each value as it is written. Pure.
//!
//! Values are moved as text: big numbers, lone surrogates and any depth survive.

use std::borrow::Cow;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use witgate_document::string;

/// The members in order. Of several with the same name the last one counts, as for most readers of
/// JSON.
#[derive(Default)]
pub(super) struct Members<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Members<'a> {
    /// Reads an object; `None` if the text is anything else.
    pub(super) fn read(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Each name and value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().rfind(|(name, _)| name == key);
        found.map(|(_, value)| &**value)
    }

    /// The text of a member that is a string.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        string::decode(self.get(key)?.as_bytes())
    }

    /// The members of a member that is an object.
    pub(super) fn object(&self, key: &str) -> Option<Members<'_>> {
        Members::read(self.get(key)?)
    }

    /// Sets a member in its position, or appends it. Returns the old value.
    pub(super) fn set(
        &mut self,
        key: impl Into<Cow<'a, str>>,
        value: impl Into<Cow<'a, str>>,
    ) -> Option<Cow<'a, str>> {
        let key = key.into();
        match self.0.iter_mut().rfind(|(name, _)| *name == key) {
            Some((_, old)) => Some(std::mem::replace(old, value.into())),
            None => {
                self.0.push((key, value.into()));
                None
            }
        }
    }

    /// A member to be changed in place; a new one begins as `null`.
    pub(super) fn value_mut(&mut self, key: impl Into<Cow<'a, str>>) -> &mut String {
        let key = key.into();
        let at = self.0.iter().rposition(|(name, _)| *name == key);
        let at = at.unwrap_or_else(|| {
            self.0.push((key, Cow::Borrowed("null")));
            self.0.len() - 1
        });
        self.0[at].1.to_mut()
    }

    pub(super) fn into_owned(self) -> Members<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let members = self.0.into_iter();
        Members(
            members
                .map(|(key, value)| (owned(key), owned(value)))
                .collect(),
        )
    }

    pub(super) fn to_json(&self) -> String {
        let sizes = self
            .0
            .iter()
            .map(|(key, value)| key.len() + value.len() + 4);
        let mut json = String::with_capacity(2 + sizes.sum::<usize>());
        json.push('{');
        for (nth, (key, value)) in self.0.iter().enumerate() {
            if nth > 0 {
                json.push(',');
            }
            match key {
                // A borrowed name has no escapes.
                Cow::Borrowed(plain) => json.extend(["\"", plain, "\":"]),
                Cow::Owned(odd) => json.extend([&*string::encode(odd), ":"]),
            }
            json.push_str(value);
        }
        json.push('}');
        json
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Key(key), value)) = map.next_entry::<_, &RawValue>()? {
                    members.push((key, Cow::Borrowed(value.get())));
                }
                Ok(Members(members))
            }
        }

        from.deserialize_map(Each)
    }
}

/// A name, borrowed unless it contains an escape.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_as_written() {
        let json = r#"{"n":12345678901234567890123,"x":1e400,"s":"\ud800","k\"":[ ]}"#;
        let members = Members::read(json).unwrap();
        assert_eq!(members.to_json(), json);
        assert_eq!(members.into_owned().to_json(), json);
        let deep = format!("{{\"d\":{}{}}}", "[".repeat(1_000), "]".repeat(1_000));
        assert_eq!(Members::read(&deep).unwrap().to_json(), deep);
    }

    #[test]
    fn the_last_of_several_members_with_the_same_name_is_read_and_set() {
        let mut members = Members::read(r#"{"a":1,"a":2}"#).unwrap();
        assert_eq!(members.get("a"), Some("2"));
        assert_eq!(members.set("a", "3").as_deref(), Some("2"));
        members.value_mut("a").push('0');
        members.value_mut("b").push('!');
        assert_eq!(members.to_json(), r#"{"a":1,"a":30,"b":null!}"#);
    }

    #[test]
    fn other_json_has_no_members() {
        for json in ["", "[]", "null", "{\"a\"", "\"{}\""] {
            assert!(Members::read(json).is_none(), "{json}");
        }
    }
}
