//! The small sorted set: member, score, member, score … in order, in one listpack.

use super::tree::{At, Bound};
use crate::listpack::{Element, Listpack, Pos};
use crate::types::number::{double_as_i64, double_text, parse_stored_double};
use crate::types::pairs::Pairs;
use std::ops::Range;

/// A score as it is read from a listpack.
pub fn score_of(element: Element<'_>) -> f64 {
    match element {
        Element::Int(value) => value as f64,
        Element::Bytes(text) => parse_stored_double(text),
    }
}

/// Where `member` is, and its score.
pub fn find(pack: &Listpack, member: &[u8]) -> Option<(Pos, f64)> {
    let pos = pack.find(member, 2)?;
    Some((pos, score_of(pack.at(pack.next(pos)?))))
}

/// Adds a member that is not there, in its place.
pub fn insert(pack: &mut Listpack, member: &[u8], score: f64) {
    let mut pairs = Pairs::of(pack);
    let at = At(score, member);
    let after = loop {
        let Some((pos, held, held_score)) = pairs.next_with_pos() else { break None };
        let mut buffer = itoa::Buffer::new();
        if !at.is_before(score_of(held_score), || held.text(&mut buffer)) {
            break Some(pos);
        }
    };
    match after {
        Some(pos) => {
            pack.insert_before(pos, Element::of(member));
            with_element(score, |score| pack.insert_after(pos, score));
        }
        None => push(pack, member, score),
    }
}

/// Adds a member that is not there and goes behind all others.
pub fn push(pack: &mut Listpack, member: &[u8], score: f64) {
    pack.push_back(member);
    with_element(score, |score| pack.push_back_element(score));
}

pub fn remove(pack: &mut Listpack, member: &[u8]) {
    if let Some(pos) = pack.find(member, 2) {
        pack.delete_many(pos, 2);
    }
}

/// Hands on a score as it is written to a listpack: an integer where that makes no difference, text where it
/// does.
fn with_element<R>(score: f64, write: impl FnOnce(Element<'_>) -> R) -> R {
    match double_as_i64(score) {
        Some(integer) => write(Element::Int(integer)),
        None => write(Element::of(&double_text(score))),
    }
}

/// Number of elements before a place.
pub fn rank_of(pack: &Listpack, bound: &impl Bound) -> usize {
    let is_before = |(member, score): (Element<'_>, Element<'_>)| {
        let mut buffer = itoa::Buffer::new();
        bound.is_before(score_of(score), || member.text(&mut buffer))
    };
    Pairs::of(pack).take_while(|&pair| is_before(pair)).count()
}

/// The elements of these ranks, from either end.
pub fn iter(pack: &Listpack, ranks: Range<usize>) -> Pairs<'_> {
    let (first, last) = (pack.seek(2 * ranks.start as i64), pack.seek(2 * ranks.end as i64 - 1));
    match (first, last) {
        (Some(first), Some(last)) if !ranks.is_empty() => Pairs::over(pack.iter_between(first, last)),
        _ => Pairs::none(pack),
    }
}
