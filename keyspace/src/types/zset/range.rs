//! Ranges of scores and of members.

use super::tree::Bound;
use crate::types::number::parse_double_bound;

/// Scores from `min` to `max`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ScoreRange {
    pub min: f64,
    pub max: f64,
    pub min_exclusive: bool,
    pub max_exclusive: bool,
}

impl ScoreRange {
    pub const ALL: ScoreRange =
        ScoreRange { min: f64::NEG_INFINITY, max: f64::INFINITY, min_exclusive: false, max_exclusive: false };

    /// Parses two bounds; a `(` in front makes one exclusive. `None` if one is no number.
    pub fn parse(min: &[u8], max: &[u8]) -> Option<Self> {
        let parse = |text: &[u8]| match text {
            [b'(', rest @ ..] => parse_double_bound(rest).map(|bound| (bound, true)),
            text => parse_double_bound(text).map(|bound| (bound, false)),
        };
        let ((min, min_exclusive), (max, max_exclusive)) = (parse(min)?, parse(max)?);
        Some(ScoreRange { min, max, min_exclusive, max_exclusive })
    }

    /// Whether no score at all is in the range.
    pub fn is_empty(&self) -> bool {
        self.min > self.max || (self.min == self.max && (self.min_exclusive || self.max_exclusive))
    }

    pub fn contains(&self, score: f64) -> bool {
        !self.start().is_before(score, || &[]) && self.end().is_before(score, || &[])
    }

    /// The place before the first element in range.
    pub(super) fn start(&self) -> ScoreBound {
        ScoreBound { score: self.min, after_equal: self.min_exclusive }
    }

    /// The place after the last element in range.
    pub(super) fn end(&self) -> ScoreBound {
        ScoreBound { score: self.max, after_equal: !self.max_exclusive }
    }
}

/// A place before or after all elements of a score.
pub(super) struct ScoreBound {
    score: f64,
    after_equal: bool,
}

impl Bound for ScoreBound {
    fn score(&self) -> Option<f64> {
        Some(self.score)
    }

    fn is_passed_by<'a>(&self, _: impl FnOnce() -> &'a [u8]) -> bool {
        self.after_equal
    }
}

/// An end of a range of members, as ZRANGEBYLEX takes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LexBound<'a> {
    /// `-`: before all members.
    Lowest,
    /// `+`: after all members.
    Highest,
    /// `[member`
    Inclusive(&'a [u8]),
    /// `(member`
    Exclusive(&'a [u8]),
}

impl<'a> LexBound<'a> {
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        match text {
            b"-" => Some(LexBound::Lowest),
            b"+" => Some(LexBound::Highest),
            [b'[', member @ ..] => Some(LexBound::Inclusive(member)),
            [b'(', member @ ..] => Some(LexBound::Exclusive(member)),
            _ => None,
        }
    }
}

/// Members from `min` to `max`. It makes sense among members of one score.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LexRange<'a> {
    pub min: LexBound<'a>,
    pub max: LexBound<'a>,
}

impl<'a> LexRange<'a> {
    /// Parses two bounds: `-`, `+`, `[member` or `(member`.
    pub fn parse(min: &'a [u8], max: &'a [u8]) -> Option<Self> {
        Some(LexRange { min: LexBound::parse(min)?, max: LexBound::parse(max)? })
    }

    pub fn contains(&self, member: &[u8]) -> bool {
        !self.start().lets_in(member) && self.end().lets_in(member)
    }

    pub(super) fn start(&self) -> MemberBound<'a> {
        MemberBound { bound: self.min, is_end: false }
    }

    pub(super) fn end(&self) -> MemberBound<'a> {
        MemberBound { bound: self.max, is_end: true }
    }
}

/// The place before the first, or after the last member that a bound lets in.
pub(super) struct MemberBound<'m> {
    bound: LexBound<'m>,
    is_end: bool,
}

impl MemberBound<'_> {
    fn lets_in(&self, member: &[u8]) -> bool {
        match self.bound {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Inclusive(bound) if self.is_end => member <= bound,
            LexBound::Inclusive(bound) => member < bound,
            LexBound::Exclusive(bound) if self.is_end => member < bound,
            LexBound::Exclusive(bound) => member <= bound,
        }
    }
}

impl Bound for MemberBound<'_> {
    fn score(&self) -> Option<f64> {
        None
    }

    fn is_passed_by<'a>(&self, member: impl FnOnce() -> &'a [u8]) -> bool {
        self.lets_in(member())
    }
}
