//! Sorting only the front of a slice, with equals in the order in which stock leaves them.
//!
//! The order of equals shows in replies, and the algorithm decides it: the quicksort of Bentley and McIlroy,
//! "Engineering a Sort Function", which parts a slice in less, equal and greater, and here goes on only with
//! parts that reach into the front.

use std::cmp::Ordering;
use std::ops::Range;

/// Shorter parts are sorted by insertion.
const SHORT: usize = 7;
/// Longer parts choose their pivot from nine elements instead of three.
const LONG: usize = 40;

/// Sorts so that the first `count` are the least ones, in order.
pub fn sort_front<T>(slice: &mut [T], count: usize, mut compare: impl FnMut(&T, &T) -> Ordering) {
    if count == 0 {
        return;
    }
    // Parts do not touch each other, so any order of work does; a stack of them cannot overflow ours.
    let mut parts = Vec::from_iter([Range { start: 0, end: slice.len() }]);
    while let Some(part) = parts.pop() {
        let values = &mut slice[part.clone()];
        if values.len() < SHORT {
            insertion_sort(values, &mut compare);
            continue;
        }
        let (less, greater) = partition(values, &mut compare);
        for Range { start, end } in [less, greater] {
            if end - start > 1 && part.start + start < count {
                parts.push(part.start + start..part.start + end);
            }
        }
    }
}

fn insertion_sort<T>(values: &mut [T], compare: &mut impl FnMut(&T, &T) -> Ordering) {
    for sorted in 1..values.len() {
        let mut at = sorted;
        while at > 0 && compare(&values[at - 1], &values[at]).is_gt() {
            values.swap(at - 1, at);
            at -= 1;
        }
    }
}

/// Parts by a pivot. Returns where those less than it are, and those greater.
fn partition<T>(
    values: &mut [T],
    compare: &mut impl FnMut(&T, &T) -> Ordering,
) -> (Range<usize>, Range<usize>) {
    let len = values.len();
    let pivot = choose_pivot(values, compare);
    values.swap(0, pivot);
    // Equals gather at both ends; `next` and `last` close in on what was not looked at.
    let (mut equal_left, mut next) = (1, 1);
    let (mut equal_right, mut last) = (len, len);
    loop {
        while next < last {
            match compare(&values[next], &values[0]) {
                Ordering::Greater => break,
                Ordering::Equal => {
                    values.swap(equal_left, next);
                    equal_left += 1;
                }
                Ordering::Less => {}
            }
            next += 1;
        }
        while next < last {
            match compare(&values[last - 1], &values[0]) {
                Ordering::Less => break,
                Ordering::Equal => {
                    equal_right -= 1;
                    values.swap(last - 1, equal_right);
                }
                Ordering::Greater => {}
            }
            last -= 1;
        }
        if next >= last {
            break;
        }
        values.swap(next, last - 1);
        next += 1;
        last -= 1;
    }
    // The equals go to the middle.
    let (less, greater) = (next - equal_left, equal_right - last);
    let moved = equal_left.min(less);
    swap_runs(values, 0, next - moved, moved);
    let moved = greater.min(len - equal_right);
    swap_runs(values, next, len - moved, moved);
    (0..less, len - greater..len)
}

fn swap_runs<T>(values: &mut [T], one: usize, other: usize, len: usize) {
    (0..len).for_each(|at| values.swap(one + at, other + at));
}

fn choose_pivot<T>(values: &[T], compare: &mut impl FnMut(&T, &T) -> Ordering) -> usize {
    let len = values.len();
    let mut median = |a: usize, b: usize, c: usize| {
        let mut is = |x: usize, y: usize, order: Ordering| compare(&values[x], &values[y]) == order;
        if is(a, b, Ordering::Less) {
            if is(b, c, Ordering::Less) {
                b
            } else if is(a, c, Ordering::Less) {
                c
            } else {
                a
            }
        } else if is(b, c, Ordering::Greater) {
            b
        } else if is(a, c, Ordering::Less) {
            a
        } else {
            c
        }
    };
    let (first, middle, last) = (0, len / 2, len - 1);
    match () {
        () if len <= SHORT => middle,
        () if len <= LONG => median(first, middle, last),
        () => {
            let step = len / 8;
            let first = median(first, step, 2 * step);
            let middle = median(middle - step, middle, middle + step);
            let last = median(last - 2 * step, last - step, last);
            median(first, middle, last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_is_sorted_and_nothing_is_lost() {
        let mut rng = fastrand::Rng::with_seed(17);
        for round in 0..2_000 {
            let len = rng.usize(..200);
            let most = [3, 50, 1_000][round % 3];
            let values: Vec<u32> = (0..len).map(|_| rng.u32(..most)).collect();
            let count = rng.usize(..=len);
            let (mut partly, mut wholly) = (values.clone(), values);
            sort_front(&mut partly, count, u32::cmp);
            wholly.sort_unstable();
            assert_eq!(partly[..count], wholly[..count]);
            partly.sort_unstable();
            assert_eq!(partly, wholly);
        }
    }
}
