//! Access control: users, what they may do, and who is which.
//!
//! ```text
//!  Session ──▶ Arc<User> ──▶ Rules (swapped whole) ──▶ Selector, Selector, …
//!     └── RESTRICTED: not everything is allowed
//! ```
//!
//! A session notes by a flag whether its user may do everything, so the check before a command is a test of that flag.
//! Rules change with the world at rest, and whoever changes them brings the flags of all sessions up to date
//! ([`apply_to_sessions`]). Clients that wait for keys are run by other threads, which ask the rules themselves.

pub mod check;
mod error;
pub mod file;
pub mod log;
mod selector;
mod user;

pub use error::{DUPLICATE, RuleError};
pub use file::check_declaration;
pub use log::{Context, Log};
pub use selector::Selector;
pub use user::{Rules, User};

use crate::clients;
use crate::config::Settings;
use crate::exec::spec;
use crate::exec::{Cx, Session, SessionFlags};
use crate::pubsub::Space;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

const DEFAULT: &[u8] = b"default";

/// A user, and the rules it had before, if any.
type Changed = (Arc<User>, Option<Arc<Rules>>);

/// All users, and what was denied to them.
pub struct Acl {
    users: RwLock<BTreeMap<Box<[u8]>, Arc<User>>>,
    /// Who connections are before they say who they are. It is never removed, only changed.
    pub default: Arc<User>,
    pub log: Log,
}

impl Acl {
    /// With nobody but the user `default`, and the password that the settings require of it.
    pub fn new(settings: &Settings) -> Acl {
        let mut rules = Rules::of_default();
        rules.require_password(&settings.requirepass);
        let default = Arc::new(User::new(DEFAULT, rules));
        let users = RwLock::new(BTreeMap::from([(DEFAULT.into(), default.clone())]));
        Acl { users, default, log: Log::default() }
    }

    pub fn user(&self, name: &[u8]) -> Option<Arc<User>> {
        self.users.read().get(name).cloned()
    }

    /// By name.
    pub fn users(&self) -> Vec<Arc<User>> {
        self.users.read().values().cloned().collect()
    }

    /// All users as lines of a configuration file.
    pub fn lines(&self) -> Vec<Vec<u8>> {
        self.users.read().values().map(|user| user.line()).collect()
    }

    /// The user with this name and password.
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<Arc<User>> {
        self.user(name).filter(|user| user.rules().accepts(password))
    }

    /// Applies rules to a user, a new one if need be: all of them, or none when one makes no sense. Returns the user and
    /// the rules it had, if any.
    pub fn set(&self, name: &[u8], rules: &[&[u8]], all_channels: bool) -> Result<Changed, Vec<u8>> {
        let known = self.user(name);
        let old = known.as_ref().map(|user| user.rules());
        let mut new = old.as_ref().map_or_else(|| Rules::new(all_channels), |old| Rules::clone(old));
        let merged = merge_selectors(rules).map_err(|start| {
            [b"Unmatched parenthesis in acl selector starting at '", start, b"'."].concat()
        })?;
        for rule in &merged {
            new.apply(rule, all_channels).map_err(|error| {
                let text = error.text().as_bytes();
                [b"Error in ACL SETUSER modifier '", &**rule, b"': ", text].concat()
            })?;
        }
        let user = match known {
            Some(user) => {
                user.replace(new);
                user
            }
            None => {
                let user = Arc::new(User::new(name, new));
                self.users.write().insert(name.into(), user.clone());
                user
            }
        };
        Ok((user, old))
    }

    /// Takes a user away; its sessions are the caller's business.
    pub fn remove(&self, name: &[u8]) -> Option<Arc<User>> {
        self.users.write().remove(name)
    }

    /// `requirepass` is another one now.
    pub fn require_password(&self, password: &str) {
        let mut rules = Rules::clone(&self.default.rules());
        rules.require_password(password);
        self.default.replace(rules);
    }

    /// Puts others in place of all users; without a `default` among them it is as if nothing were said about it. Returns
    /// those that are no more.
    fn replace_all(&self, users: Vec<(Box<[u8]>, Rules)>) -> Vec<Arc<User>> {
        let mut default = Rules::of_default();
        let mut new = BTreeMap::from([(DEFAULT.into(), self.default.clone())]);
        for (name, rules) in users {
            if *name == *DEFAULT {
                default = rules;
            } else {
                let user = Arc::new(User::new(&name, rules));
                new.insert(name, user);
            }
        }
        self.default.replace(default);
        let old = std::mem::replace(&mut *self.users.write(), new);
        old.into_values().filter(|user| !Arc::ptr_eq(user, &self.default)).collect()
    }
}

/// The category of this name, without the `@`.
pub fn category(name: &[u8]) -> Option<spec::Acl> {
    let mut all = spec::Acl::all().iter_names();
    all.find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name)).map(|(_, category)| category)
}

/// Names and patterns with blanks could not be told apart in a file.
pub fn has_spaces(text: &[u8]) -> bool {
    text.iter().any(|&b| b == 0 || b == 0x0b || b.is_ascii_whitespace())
}

/// Joins selectors that came as several arguments. The error is the one that opens a parenthesis nobody closes.
pub fn merge_selectors<'a>(args: &[&'a [u8]]) -> Result<Vec<Vec<u8>>, &'a [u8]> {
    let mut merged: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<&[u8]> = None;
    for &arg in args {
        match (&open, merged.last_mut()) {
            (Some(_), Some(selector)) => {
                selector.push(b' ');
                selector.extend_from_slice(arg);
                if arg.ends_with(b")") {
                    open = None;
                }
            }
            _ => {
                if arg.starts_with(b"(") && !arg.ends_with(b")") {
                    open = Some(arg);
                }
                merged.push(arg.to_vec());
            }
        }
    }
    open.map_or(Ok(merged), Err)
}

impl Session {
    pub fn user_name(&self) -> &[u8] {
        self.user.as_ref().map_or(b"(superuser)", |user| &user.name)
    }

    pub fn is_user(&self, user: &Arc<User>) -> bool {
        self.user.as_ref().is_some_and(|own| Arc::ptr_eq(own, user))
    }

    pub fn log_in(&mut self, user: Arc<User>) {
        self.flags.remove(SessionFlags::GUEST);
        self.flags.insert(SessionFlags::AUTHENTICATED);
        self.flags.set(SessionFlags::RESTRICTED, !user.rules().is_unrestricted());
        self.user = Some(user);
    }

    /// Makes it a session of somebody who has not said who he is.
    pub fn log_out(&mut self, acl: &Acl) {
        let rules = acl.default.rules();
        self.flags.remove(SessionFlags::GUEST);
        self.flags.set(SessionFlags::AUTHENTICATED, rules.lets_in_unasked());
        self.flags.set(SessionFlags::RESTRICTED, !rules.is_unrestricted());
        self.user = Some(acl.default.clone());
    }

    /// Rules have changed.
    pub fn refresh_rights(&mut self, acl: &Acl) {
        let Some(user) = &self.user else { return };
        self.flags.set(SessionFlags::RESTRICTED, !user.rules().is_unrestricted());
        // Who was not let in is while the default user needs no password.
        if self.is(SessionFlags::GUEST) || !self.is(SessionFlags::AUTHENTICATED) {
            let is_open = acl.default.rules().lets_in_unasked();
            self.flags.set(SessionFlags::GUEST | SessionFlags::AUTHENTICATED, is_open);
        }
    }
}

/// Has every session see that rules have changed. The world is at rest.
pub fn apply_to_sessions(cx: &mut Cx<'_>) {
    let server = cx.server.clone();
    cx.session.refresh_rights(&server.acl);
    clients::each_other(cx, |_, conn| conn.session.refresh_rights(&server.acl));
}

/// Ends the sessions of users that are no more. The world is at rest.
pub fn end_sessions(cx: &mut Cx<'_>, gone: &[Arc<User>]) {
    let server = cx.server.clone();
    let is_gone = |session: &Session| gone.iter().any(|user| session.is_user(user));
    if is_gone(cx.session) {
        cx.session.log_out(&server.acl);
        cx.session.flags.insert(SessionFlags::CLOSE_AFTER_REPLY);
    }
    clients::each_other(cx, |thread, conn| {
        if is_gone(&conn.session) {
            conn.session.log_out(&server.acl);
            clients::doom(&server, thread, conn);
        }
    });
}

/// Ends the sessions of a user that listen to what it may not listen to any more. The world is at rest.
pub fn end_listening(cx: &mut Cx<'_>, user: &Arc<User>, old: &Rules) {
    let new = user.rules();
    if new.selectors().any(Selector::has_all_channels) {
        return;
    }
    let allowed: Vec<Box<[u8]>> = new.selectors().flat_map(|s| s.channels().iter().cloned()).collect();
    let lost = |s: &Selector| s.has_all_channels() || s.channels().iter().any(|c| !allowed.contains(c));
    if !old.selectors().any(lost) {
        return;
    }
    let trespasses = |session: &Session| {
        let Some(own) = session.subscriptions.as_ref().filter(|_| session.is_user(user)) else {
            return false;
        };
        Space::ALL.into_iter().any(|space| {
            let allows = |name: &[u8]| selector::is_channel_among(&allowed, name, space == Space::Patterns);
            own.of(space).iter().any(|name| !allows(name))
        })
    };
    let server = cx.server.clone();
    if trespasses(cx.session) {
        cx.session.flags.insert(SessionFlags::CLOSE_AFTER_REPLY);
    }
    clients::each_other(cx, |thread, conn| {
        if trespasses(&conn.session) {
            clients::doom(&server, thread, conn);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::selector::Denied;
    use super::*;
    use crate::exec::table::table;
    use protocol::ArgVec;

    fn rules(text: &str) -> Rules {
        let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
        let mut rules = Rules::new(false);
        for rule in merge_selectors(&words).unwrap() {
            rules.apply(&rule, false).unwrap_or_else(|error| panic!("{text}: {}", error.text()));
        }
        rules
    }

    fn check(rules: &Rules, line: &str) -> Result<(), Denied> {
        let argv: ArgVec = line.split(' ').map(str::as_bytes).collect();
        let argv = argv.as_argv();
        let command = table().find(argv.name()).unwrap();
        let command =
            if command.subcommands.is_empty() { command } else { command.subcommand(argv.get(1)).unwrap() };
        rules.check(command, argv)
    }

    #[test]
    fn commands_keys_and_channels_must_be_allowed_by_one_selector() {
        let rules = rules("on nopass +get +publish ~a* &c (+set ~b* %R~r*) (+copy %R~x %W~y)");
        let denied = [
            ("get b", Denied::Key(1)),
            ("set a 1", Denied::Key(1)),
            ("set r 1", Denied::Key(1)),
            ("del a", Denied::Command),
            ("publish d m", Denied::Channel(1)),
            ("copy y x", Denied::Key(1)),
            ("copy x x", Denied::Key(2)),
        ];
        for (line, why) in denied {
            assert_eq!(check(&rules, line), Err(why), "{line}");
        }
        for line in ["get abc", "set b 1", "publish c m", "copy x y"] {
            assert_eq!(check(&rules, line), Ok(()), "{line}");
        }
    }

    #[test]
    fn what_is_described_reads_back() {
        for text in [
            "on nopass sanitize-payload ~* &* +@all",
            "off sanitize-payload %R~a ~b resetchannels &c &d -@all +@set -sadd +client|id +select|0",
            "on skip-sanitize-payload resetchannels +@all -@dangerous (~k resetchannels -@all +get)",
        ] {
            let rules = rules(text);
            assert_eq!(String::from_utf8(rules.describe()).unwrap(), text);
        }
    }

    #[test]
    fn rules_about_a_command_take_the_place_of_those_about_its_parts() {
        let commands = |text| rules(text).root().describe_commands();
        assert_eq!(
            commands("+client|list +config|get +config +acl|list -acl"),
            "-@all +client|list +config -acl"
        );
        assert_eq!(commands("+@all -@hash -@slow +hget -@hash"), "+@all -@slow +hget -@hash");
        assert_eq!(commands("+select|0 +select|0 +debug|segfault +debug"), "-@all +select|0 +debug");
        assert_eq!(check(&rules("+select|0"), "select 1"), Err(Denied::Command));
        assert_eq!(check(&rules("+select|0"), "select 0"), Ok(()));
    }

    #[test]
    fn bad_rules_say_why() {
        let error = |text: &str| {
            let mut rules = Rules::new(false);
            let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
            words.iter().find_map(|rule| rules.apply(rule, false).err())
        };
        for (text, why) in [
            ("nonsense", RuleError::Syntax),
            ("%X~a", RuleError::Syntax),
            ("+nonsense", RuleError::UnknownCommand),
            ("+@nonsense", RuleError::UnknownCommand),
            ("+config|nonsense", RuleError::UnknownCommand),
            ("+config|get|port", RuleError::FirstArgOfSubcommand),
            ("~* ~a", RuleError::AllKeysAlready),
            ("&* &a", RuleError::AllChannelsAlready),
            ("#12", RuleError::BadHash),
            ("<secret", RuleError::NoSuchPassword),
        ] {
            assert_eq!(error(text), Some(why), "{text}");
        }
        assert_eq!(merge_selectors(&[b"(+get", b"~a"]), Err(b"(+get".as_slice()));
    }
}
