//! Places on earth as scores of a sorted set.
//!
//! A score is a geohash of 52 bits: the interval of longitudes is halved 26 times, and that of latitudes; the
//! bits that say which half are taken alternately, longitude first. Places of one beginning lie in one box.
//!
//! Distances are on a sphere (haversine). Replies show four decimals of them and all of a coordinate, so the
//! operations on doubles are in stock's order.

mod area;

pub use area::{Area, Shape};

use std::f64::consts::PI;

/// Where Mercator's projection ends (EPSG:900913).
const LATITUDE_MAX: f64 = 85.05112878;
const LONGITUDE_MAX: f64 = 180.0;
/// Halvings of each coordinate in a score.
const STEPS: u32 = 26;
const EARTH_RADIUS_METERS: f64 = 6_372_797.560856;
const RADIANS_PER_DEGREE: f64 = PI / 180.0;

/// A place, in degrees.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Point {
    pub longitude: f64,
    pub latitude: f64,
}

impl Point {
    /// `None` for a place that cannot be a score.
    pub fn new(longitude: f64, latitude: f64) -> Option<Point> {
        let is_on_map = (-LONGITUDE_MAX..=LONGITUDE_MAX).contains(&longitude)
            && (-LATITUDE_MAX..=LATITUDE_MAX).contains(&latitude);
        is_on_map.then_some(Point { longitude, latitude })
    }

    /// The score that stands for this place.
    pub fn score(&self) -> f64 {
        Cell::of(*self, STEPS, LATITUDE_MAX).bits as f64
    }

    /// The middle of the box a score stands for, whatever the score is.
    pub fn from_score(score: f64) -> Point {
        let edges = Cell { bits: to_bits(score), steps: STEPS }.edges();
        let middle = |min: f64, max: f64, most: f64| ((min + max) / 2.0).min(most).max(-most);
        Point {
            longitude: middle(edges.west, edges.east, LONGITUDE_MAX),
            latitude: middle(edges.south, edges.north, LATITUDE_MAX),
        }
    }

    /// The standard geohash, of eleven characters, the last of which is always `0` for want of bits.
    pub fn text(&self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        // Others halve all latitudes there are.
        let bits = Cell::of(*self, STEPS, 90.0).bits;
        std::array::from_fn(|at| match at {
            10 => ALPHABET[0],
            _ => ALPHABET[(bits >> (52 - 5 * (at + 1)) & 0x1f) as usize],
        })
    }

    /// In meters.
    pub fn distance(&self, other: &Point) -> f64 {
        let (from, to) = (self.radians(), other.radians());
        let v = ((to.longitude - from.longitude) / 2.0).sin();
        if v == 0.0 {
            return self.distance_of_latitudes(other);
        }
        let u = ((to.latitude - from.latitude) / 2.0).sin();
        let a = u * u + from.latitude.cos() * to.latitude.cos() * v * v;
        2.0 * EARTH_RADIUS_METERS * a.sqrt().asin()
    }

    /// In meters, were they on one meridian.
    pub fn distance_of_latitudes(&self, other: &Point) -> f64 {
        EARTH_RADIUS_METERS * (other.latitude * RADIANS_PER_DEGREE - self.latitude * RADIANS_PER_DEGREE).abs()
    }

    fn radians(&self) -> Point {
        Point { longitude: self.longitude * RADIANS_PER_DEGREE, latitude: self.latitude * RADIANS_PER_DEGREE }
    }
}

/// A score as an integer. Any double may be one: what is out of range becomes what it does on x86.
fn to_bits(score: f64) -> u64 {
    const TWO_TO_63: f64 = (1u64 << 63) as f64;
    match score {
        _ if score >= 2.0 * TWO_TO_63 => 0,
        _ if score >= TWO_TO_63 => score as u64,
        _ if score >= -TWO_TO_63 => score as i64 as u64,
        _ => 1 << 63,
    }
}

/// A box of the map: the first bits of a geohash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cell {
    bits: u64,
    steps: u32,
}

/// The edges of a box, in degrees.
#[derive(Clone, Copy, Debug)]
struct Edges {
    west: f64,
    east: f64,
    south: f64,
    north: f64,
}

impl Cell {
    /// The box a place is in, of a map that ends at these latitudes.
    fn of(point: Point, steps: u32, latitude_max: f64) -> Cell {
        let part = |value: f64, most: f64| {
            let offset = (value + most) / (most + most);
            // The last place there is would be in the box behind the last one.
            (offset * (1u64 << steps) as f64) as u32
        };
        let latitude = part(point.latitude, latitude_max);
        let longitude = part(point.longitude, LONGITUDE_MAX);
        Cell { bits: interleave(latitude) | interleave(longitude) << 1, steps }
    }

    fn edges(&self) -> Edges {
        let (latitude, longitude) = (deinterleave(self.bits), deinterleave(self.bits >> 1));
        let parts = (1u64 << self.steps) as f64;
        let edge = |part: u32, most: f64| -most + f64::from(part) / parts * (most + most);
        Edges {
            west: edge(longitude, LONGITUDE_MAX),
            east: edge(longitude.wrapping_add(1), LONGITUDE_MAX),
            south: edge(latitude, LATITUDE_MAX),
            north: edge(latitude.wrapping_add(1), LATITUDE_MAX),
        }
    }
}

/// Puts a zero before each bit.
fn interleave(bits: u32) -> u64 {
    let mut spread = u64::from(bits);
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ] {
        spread = (spread | spread << shift) & mask;
    }
    spread
}

/// Takes every second bit, from the lowest on.
fn deinterleave(spread: u64) -> u32 {
    let mut bits = spread & 0x5555_5555_5555_5555;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff),
    ] {
        bits = (bits | bits >> shift) & mask;
    }
    bits as u32
}

#[cfg(test)]
mod tests;
