//! The `name:value` lines of INFO and CLUSTER INFO.

use std::collections::HashMap;

#[derive(Default)]
pub struct Info(HashMap<String, String>);

impl Info {
    pub fn parse(text: &str) -> Info {
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Info(fields.map(|(name, value)| (name.to_owned(), value.trim_end().to_owned())).collect())
    }

    /// The field's value, empty when the node does not have the field.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name).parse().ok()
    }

    /// Keys of all databases (`dbN:keys=…,expires=…`).
    pub fn keys(&self) -> u64 {
        let databases = self.0.iter().filter(|(name, _)| {
            name.strip_prefix("db").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        });
        databases
            .filter_map(|(_, value)| value.split(',').find_map(|field| field.strip_prefix("keys=")))
            .filter_map(|keys| keys.parse::<u64>().ok())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_numbers_and_keys() {
        let info = Info::parse(
            "# Server\r\nrole:master\r\nused_memory:12\r\n\r\n# Keyspace\r\ndb0:keys=3,expires=0,avg_ttl=0\r\ndb11:keys=4,expires=1\r\n",
        );
        assert_eq!(info.text("role"), "master");
        assert_eq!(info.number("used_memory"), Some(12));
        assert_eq!(info.number("role"), None);
        assert_eq!(info.text("absent"), "");
        assert_eq!(info.keys(), 7);
    }
}
