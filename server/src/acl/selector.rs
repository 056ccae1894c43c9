//! A selector: a set of rights. A user has one of its own, and any number beside it; a command must be allowed by
//! one of them as a whole.

use super::error::RuleError;
use crate::exec::spec::KeyFlags;
use crate::exec::table::{Command, table};
use protocol::{Argv, glob};
use std::collections::BTreeMap;

/// What of a key a pattern allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyRights {
    pub read: bool,
    pub write: bool,
}

impl KeyRights {
    const ALL: KeyRights = KeyRights { read: true, write: true };

    /// What a command needs, by the flags of a key spec. Commands that only ask whether a key exists need nothing
    /// but a pattern that fits.
    fn needed(flags: KeyFlags) -> KeyRights {
        KeyRights {
            read: flags.contains(KeyFlags::ACCESS),
            write: flags.intersects(KeyFlags::INSERT | KeyFlags::DELETE | KeyFlags::UPDATE),
        }
    }

    fn cover(self, needed: KeyRights) -> bool {
        (self.read || !needed.read) && (self.write || !needed.write)
    }

    fn prefix(self) -> &'static [u8] {
        match (self.read, self.write) {
            (true, false) => b"%R~",
            (false, true) => b"%W~",
            _ => b"~",
        }
    }
}

#[derive(Clone, Debug)]
struct KeyPattern {
    pattern: Box<[u8]>,
    rights: KeyRights,
}

/// Why a command is not allowed; positions are those of arguments. In the order in which they matter: what is
/// reported is the last of what the selectors say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Denied {
    Command,
    Key(usize),
    Channel(usize),
}

#[derive(Clone, Debug)]
pub struct Selector {
    all_keys: bool,
    all_channels: bool,
    all_commands: bool,
    /// Began with `+@all`: everything that is not excluded is allowed.
    starts_with_all: bool,
    /// By [`Command::id`].
    commands: Box<[u64]>,
    /// First arguments with which a command is allowed that is not otherwise.
    first_args: BTreeMap<usize, Vec<String>>,
    keys: Vec<KeyPattern>,
    channels: Vec<Box<[u8]>>,
    /// The rules about commands, in the order in which they were given: what they add up to is in `commands`.
    command_rules: Vec<(bool, String)>,
}

impl Selector {
    /// Nothing is allowed; channels are as `acl-pubsub-default` says.
    pub fn new(all_channels: bool) -> Selector {
        Selector {
            all_keys: false,
            all_channels,
            all_commands: false,
            starts_with_all: false,
            commands: vec![0; table().count().div_ceil(64)].into(),
            first_args: BTreeMap::new(),
            keys: Vec::new(),
            channels: Vec::new(),
            command_rules: Vec::new(),
        }
    }

    /// Reads the rules of `(…)`, without the parentheses.
    pub fn parse(rules: &[u8], all_channels: bool) -> Result<Selector, RuleError> {
        let mut selector = Selector::new(all_channels);
        let words = protocol::request::split_quoted(rules).ok_or(RuleError::Syntax)?;
        for word in words.as_argv().iter() {
            selector.apply(word)?;
        }
        Ok(selector)
    }

    /// Everything is allowed.
    pub fn is_unrestricted(&self) -> bool {
        self.all_keys && self.all_channels && self.all_commands
    }

    pub fn has_all_channels(&self) -> bool {
        self.all_channels
    }

    pub fn channels(&self) -> &[Box<[u8]>] {
        &self.channels
    }

    /// Applies one rule. What went before stays when it is an error.
    pub fn apply(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        match rule {
            _ if is("allkeys") || is("~*") => self.set_all_keys(true),
            _ if is("resetkeys") => self.set_all_keys(false),
            _ if is("allchannels") || is("&*") => self.set_all_channels(true),
            _ if is("resetchannels") => self.set_all_channels(false),
            _ if is("allcommands") || is("+@all") => self.set_all_commands(true),
            _ if is("nocommands") || is("-@all") => self.set_all_commands(false),
            [b'~', pattern @ ..] => self.add_key_pattern(KeyRights::ALL, pattern)?,
            [b'%', rest @ ..] => {
                let (rights, pattern) = key_rights(rest)?;
                self.add_key_pattern(rights, pattern)?;
            }
            [b'&', pattern @ ..] => self.add_channel(pattern)?,
            [sign @ (b'+' | b'-'), b'@', ..] => self.change_category(&rule[1..], *sign == b'+')?,
            [b'+', name @ ..] => self.allow(name)?,
            [b'-', name @ ..] => {
                let command = find(name).ok_or(RuleError::UnknownCommand)?;
                self.change_command(command, false);
                self.note_rule(&command.full_name, false);
            }
            _ => return Err(RuleError::Syntax),
        }
        Ok(())
    }

    fn set_all_keys(&mut self, all: bool) {
        self.all_keys = all;
        self.keys.clear();
    }

    fn set_all_channels(&mut self, all: bool) {
        self.all_channels = all;
        self.channels.clear();
    }

    fn set_all_commands(&mut self, all: bool) {
        self.all_commands = all;
        self.starts_with_all = all;
        self.commands.fill(if all { u64::MAX } else { 0 });
        self.command_rules.clear();
        self.first_args.clear();
    }

    fn add_key_pattern(&mut self, rights: KeyRights, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_keys {
            return Err(RuleError::AllKeysAlready);
        }
        if super::has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        match self.keys.iter_mut().find(|known| *known.pattern == *pattern) {
            Some(known) => {
                known.rights.read |= rights.read;
                known.rights.write |= rights.write;
            }
            None => self.keys.push(KeyPattern { pattern: pattern.into(), rights }),
        }
        Ok(())
    }

    fn add_channel(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_channels {
            return Err(RuleError::AllChannelsAlready);
        }
        if super::has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        if !self.channels.iter().any(|known| **known == *pattern) {
            self.channels.push(pattern.into());
        }
        Ok(())
    }

    /// `+name`, `+container|subcommand`, or `+command|first-argument`.
    fn allow(&mut self, name: &[u8]) -> Result<(), RuleError> {
        let Some(bar) = name.iter().rposition(|&b| b == b'|') else {
            let command = find(name).ok_or(RuleError::UnknownCommand)?;
            self.change_command(command, true);
            self.note_rule(&command.full_name, true);
            return Ok(());
        };
        let (first, second) = (&name[..bar], &name[bar + 1..]);
        let command = find(first).ok_or(RuleError::UnknownCommand)?;
        if command.is_subcommand {
            return Err(RuleError::FirstArgOfSubcommand);
        }
        if second.is_empty() {
            return Err(RuleError::Syntax);
        }
        let rule = String::from_utf8_lossy(name).into_owned();
        if command.subcommands.is_empty() {
            crate::log::warning(&format!(
                "Deprecation warning: Allowing a first arg of an otherwise blocked command is a misuse of ACL and may \
                 get disabled in the future (offender: +{rule})"
            ));
            let args = self.first_args.entry(command.id).or_default();
            let arg = String::from_utf8_lossy(second).into_owned();
            if !args.iter().any(|known| known.eq_ignore_ascii_case(&arg)) {
                args.push(arg);
            }
        } else {
            let sub = command.subcommand(second).ok_or(RuleError::UnknownCommand)?;
            self.change_command(sub, true);
        }
        self.note_rule(&rule, true);
        Ok(())
    }

    fn change_category(&mut self, category: &[u8], allow: bool) -> Result<(), RuleError> {
        let wanted = super::category(&category[1..]).ok_or(RuleError::UnknownCommand)?;
        self.note_rule(&String::from_utf8_lossy(category), allow);
        for command in table().originals() {
            if command.spec.acl_categories().intersects(wanted) {
                self.change_command(command, allow);
            }
            for sub in &command.subcommands {
                if sub.spec.acl_categories().intersects(wanted) {
                    self.change_command(sub, allow);
                }
            }
        }
        Ok(())
    }

    /// A container stands for its subcommands too.
    fn change_command(&mut self, command: &Command, allow: bool) {
        self.first_args.remove(&command.id);
        self.change_bit(command.id, allow);
        command.subcommands.iter().for_each(|sub| self.change_bit(sub.id, allow));
    }

    fn change_bit(&mut self, id: usize, allow: bool) {
        let bit = 1 << (id % 64);
        if allow {
            self.commands[id / 64] |= bit;
        } else {
            self.commands[id / 64] &= !bit;
            self.all_commands = false;
        }
    }

    /// Keeps a rule about commands, in place of the one it repeats, and of those about parts of the same command.
    fn note_rule(&mut self, rule: &str, allow: bool) {
        let rule = rule.to_ascii_lowercase();
        let is_part = |known: &str| known.strip_prefix(&*rule).is_some_and(|rest| rest.starts_with('|'));
        self.command_rules.retain(|(_, known)| *known != rule && !is_part(known));
        self.command_rules.push((allow, rule));
    }

    /// Whether the command may be run with these arguments. `keys` are those that it names.
    pub fn check(
        &self,
        command: &Command,
        argv: Argv<'_>,
        keys: &mut super::check::NamedKeys,
    ) -> Result<(), Denied> {
        if !self.allows_command(command, argv) {
            return Err(Denied::Command);
        }
        if !self.all_keys {
            let is_denied = |&&(at, flags): &&(usize, KeyFlags)| !self.allows_key(argv.get(at), flags);
            if let Some((at, _)) = keys.get(command, argv).iter().find(is_denied) {
                return Err(Denied::Key(*at));
            }
        }
        if !self.all_channels
            && let Some(channels) = command.spec.channels
        {
            let allows = |at: &usize| self.allows_channel(argv.get(*at), channels.are_patterns);
            if let Some(at) = channels.positions(argv.len()).find(|at| !allows(at)) {
                return Err(Denied::Channel(at));
            }
        }
        Ok(())
    }

    fn allows_command(&self, command: &Command, argv: Argv<'_>) -> bool {
        use crate::exec::spec::Flags;
        let has_bit = self.commands[command.id / 64] & 1 << (command.id % 64) != 0;
        if self.all_commands || has_bit || command.has(Flags::NO_AUTH) {
            return true;
        }
        let Some(args) = self.first_args.get(&command.id).filter(|_| argv.len() > 1) else { return false };
        args.iter().any(|arg| arg.as_bytes().eq_ignore_ascii_case(argv.get(1)))
    }

    fn allows_key(&self, key: &[u8], flags: KeyFlags) -> bool {
        let needed = KeyRights::needed(flags);
        self.keys.iter().any(|known| known.rights.cover(needed) && glob::matches(&known.pattern, key))
    }

    /// Whether every key there may be can be read.
    pub fn reads_all_keys(&self) -> bool {
        self.all_keys || self.keys.iter().any(|known| known.rights.read && *known.pattern == *b"*")
    }

    /// A pattern to listen to has to be given word for word.
    pub fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.all_channels || is_channel_among(&self.channels, channel, is_pattern)
    }

    /// The rules about commands that lead to these rights.
    pub fn describe_commands(&self) -> String {
        let mut text = if self.starts_with_all { "+@all".to_owned() } else { "-@all".to_owned() };
        for (allow, rule) in &self.command_rules {
            text.push_str(if *allow { " +" } else { " -" });
            text.push_str(rule);
        }
        text
    }

    pub fn describe_keys(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let patterns = self.keys.iter().map(|known| [known.rights.prefix(), &known.pattern].concat());
        patterns.collect::<Vec<_>>().join(&b' ')
    }

    pub fn describe_channels(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        let patterns = self.channels.iter().map(|pattern| [b"&", &**pattern].concat());
        patterns.collect::<Vec<_>>().join(&b' ')
    }

    /// All rules, as a file would give them.
    pub fn describe(&self, out: &mut Vec<u8>) {
        for part in [self.describe_keys(), self.describe_channels_from_nothing()] {
            if !part.is_empty() {
                out.extend_from_slice(&part);
                out.push(b' ');
            }
        }
        out.extend_from_slice(self.describe_commands().as_bytes());
    }

    fn describe_channels_from_nothing(&self) -> Vec<u8> {
        let channels = self.describe_channels();
        match (self.all_channels, channels.is_empty()) {
            (true, _) => channels,
            (false, true) => b"resetchannels".to_vec(),
            (false, false) => [b"resetchannels ", &*channels].concat(),
        }
    }
}

/// Whether one of `patterns` stands for the channel.
pub fn is_channel_among(patterns: &[Box<[u8]>], channel: &[u8], is_pattern: bool) -> bool {
    patterns.iter().any(|known| if is_pattern { **known == *channel } else { glob::matches(known, channel) })
}

/// Splits `R~pattern`, `W~pattern` or `RW~pattern`.
fn key_rights(rest: &[u8]) -> Result<(KeyRights, &[u8]), RuleError> {
    let mut rights = KeyRights::default();
    for (at, letter) in rest.iter().enumerate() {
        match letter.to_ascii_uppercase() {
            b'R' if !rights.read => rights.read = true,
            b'W' if !rights.write => rights.write = true,
            b'~' if rights != KeyRights::default() => return Ok((rights, &rest[at + 1..])),
            _ => return Err(RuleError::Syntax),
        }
    }
    // Without a `~` the pattern is empty, as stock has it.
    if rights == KeyRights::default() { Err(RuleError::Syntax) } else { Ok((rights, &[])) }
}

/// A command or subcommand by its own name, whatever it was renamed to.
fn find(name: &[u8]) -> Option<&'static Command> {
    match name.iter().position(|&b| b == b'|') {
        None => table().original(name),
        Some(bar) => table().original(&name[..bar])?.subcommand(&name[bar + 1..]),
    }
}
