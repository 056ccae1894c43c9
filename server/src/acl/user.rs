//! A user: whether it may log in, with which passwords, and what it may do.

use super::error::RuleError;
use super::selector::{Denied, Selector};
use crate::exec::table::Command;
use arc_swap::ArcSwap;
use protocol::Argv;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// A user. Sessions hold on to it; its rules are replaced whole.
pub struct User {
    pub name: Box<[u8]>,
    rules: ArcSwap<Rules>,
}

impl User {
    pub fn new(name: &[u8], rules: Rules) -> User {
        User { name: name.into(), rules: ArcSwap::from_pointee(rules) }
    }

    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    pub(super) fn replace(&self, rules: Rules) {
        self.rules.store(Arc::new(rules));
    }

    /// Whether the user may run this, and if not, why.
    pub fn check(&self, command: &Command, argv: Argv<'_>) -> Result<(), Denied> {
        self.rules.load().check(command, argv)
    }

    /// As a file would have it: `user name rules…`.
    pub fn line(&self) -> Vec<u8> {
        [b"user ", &*self.name, b" ", &self.rules.load().describe()].concat()
    }
}

/// The SHA-256 of a password.
#[derive(Clone, Copy, Debug)]
pub struct Hash([u8; 32]);

impl Hash {
    pub fn of(password: &[u8]) -> Hash {
        Hash(Sha256::digest(password).into())
    }

    /// From 64 hexadecimal digits, the letters in lower case.
    fn parse(text: &[u8]) -> Result<Hash, RuleError> {
        let digit = |b: u8| match b {
            b'0'..=b'9' => Ok(b - b'0'),
            b'a'..=b'f' => Ok(b - b'a' + 10),
            _ => Err(RuleError::BadHash),
        };
        if text.len() != 64 {
            return Err(RuleError::BadHash);
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Hash(hash))
    }

    pub fn text(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Compares in a time that does not tell where the first difference is.
    fn is(&self, other: &Hash) -> bool {
        self.0.iter().zip(&other.0).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

/// What is said about a user.
#[derive(Clone, Debug)]
pub struct Rules {
    pub is_on: bool,
    pub needs_no_password: bool,
    skips_sanitizing: bool,
    passwords: Vec<Hash>,
    /// The user's own, with which everybody begins.
    root: Selector,
    others: Vec<Selector>,
}

impl Rules {
    /// Of a user just made: off, without rights. `all_channels` is `acl-pubsub-default`.
    pub fn new(all_channels: bool) -> Rules {
        Rules {
            is_on: false,
            needs_no_password: false,
            skips_sanitizing: false,
            passwords: Vec::new(),
            root: Selector::new(all_channels),
            others: Vec::new(),
        }
    }

    /// Of the user `default` where nothing is said about it.
    pub fn of_default() -> Rules {
        let mut rules = Rules::new(true);
        for rule in ["+@all", "~*", "&*", "on", "nopass"] {
            rules.apply(rule.as_bytes(), true).expect("known rules");
        }
        rules
    }

    /// Whoever connects is this user without saying so.
    pub fn lets_in_unasked(&self) -> bool {
        self.is_on && self.needs_no_password
    }

    pub fn is_unrestricted(&self) -> bool {
        self.selectors().any(Selector::is_unrestricted)
    }

    /// The user's own first.
    pub fn selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.others)
    }

    pub fn root(&self) -> &Selector {
        &self.root
    }

    pub fn others(&self) -> &[Selector] {
        &self.others
    }

    pub fn passwords(&self) -> &[Hash] {
        &self.passwords
    }

    /// Whether one can log in with this password. All of the user's are compared.
    pub fn accepts(&self, password: &[u8]) -> bool {
        if !self.is_on {
            return false;
        }
        let hash = Hash::of(password);
        self.passwords.iter().fold(self.needs_no_password, |accepted, known| accepted | known.is(&hash))
    }

    pub fn flags(&self) -> Vec<&'static str> {
        let sanitizing = if self.skips_sanitizing { "skip-sanitize-payload" } else { "sanitize-payload" };
        let mut flags = vec![if self.is_on { "on" } else { "off" }];
        if self.needs_no_password {
            flags.push("nopass");
        }
        flags.push(sanitizing);
        flags
    }

    /// Applies one rule. `all_channels` is `acl-pubsub-default`.
    pub fn apply(&mut self, rule: &[u8], all_channels: bool) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        match rule {
            [] => {}
            _ if is("on") => self.is_on = true,
            _ if is("off") => self.is_on = false,
            _ if is("skip-sanitize-payload") => self.skips_sanitizing = true,
            _ if is("sanitize-payload") => self.skips_sanitizing = false,
            _ if is("nopass") => self.set_no_password(true),
            _ if is("resetpass") => self.set_no_password(false),
            [b'>', password @ ..] => self.add_password(Hash::of(password)),
            [b'#', hash @ ..] => self.add_password(Hash::parse(hash)?),
            [b'<', password @ ..] => self.remove_password(Hash::of(password))?,
            [b'!', hash @ ..] => self.remove_password(Hash::parse(hash)?)?,
            [b'(', rules @ .., b')'] => self.others.push(Selector::parse(rules, all_channels)?),
            _ if is("clearselectors") => self.others.clear(),
            _ if is("reset") => *self = Rules::new(all_channels),
            _ => self.root.apply(rule)?,
        }
        Ok(())
    }

    fn set_no_password(&mut self, needs_none: bool) {
        self.needs_no_password = needs_none;
        self.passwords.clear();
    }

    fn add_password(&mut self, hash: Hash) {
        if !self.passwords.iter().any(|known| known.is(&hash)) {
            self.passwords.push(hash);
        }
        self.needs_no_password = false;
    }

    fn remove_password(&mut self, hash: Hash) -> Result<(), RuleError> {
        let at = self.passwords.iter().position(|known| known.is(&hash)).ok_or(RuleError::NoSuchPassword)?;
        self.passwords.remove(at);
        Ok(())
    }

    /// The password that `requirepass` sets; an empty one lets everybody in.
    pub fn require_password(&mut self, password: &str) {
        self.set_no_password(password.is_empty());
        if !password.is_empty() {
            self.add_password(Hash::of(password.as_bytes()));
        }
    }

    /// Whether this may be run: by one of the selectors as a whole. What is reported otherwise is what came nearest.
    pub fn check(&self, command: &Command, argv: Argv<'_>) -> Result<(), Denied> {
        let mut keys = super::check::NamedKeys::default();
        let mut denied = Denied::Command;
        for selector in self.selectors() {
            match selector.check(command, argv, &mut keys) {
                Ok(()) => return Ok(()),
                Err(this) => denied = denied.max(this),
            }
        }
        Err(denied)
    }

    /// Whether this may be run by someone who may read every key.
    pub fn check_reading_all(&self, command: &Command, argv: Argv<'_>) -> bool {
        let mut keys = super::check::NamedKeys::default();
        self.selectors().any(|s| s.reads_all_keys() && s.check(command, argv, &mut keys).is_ok())
    }

    /// All rules, as a file would give them.
    pub fn describe(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for flag in self.flags() {
            out.extend_from_slice(flag.as_bytes());
            out.push(b' ');
        }
        for password in &self.passwords {
            out.extend_from_slice(format!("#{} ", password.text()).as_bytes());
        }
        self.root.describe(&mut out);
        for selector in &self.others {
            out.extend_from_slice(b" (");
            selector.describe(&mut out);
            out.push(b')');
        }
        out
    }
}
