//! What is searched: a shape, and the boxes of the map that cover it.
//!
//! The boxes are the one the center is in and its eight neighbours, of a size that nine of them suffice;
//! those beyond the shape are left out. Stock's choice of them is kept, the order too: it shows in the order
//! of unsorted results, and in what is found near the poles.

use super::{Cell, EARTH_RADIUS_METERS, Edges, LATITUDE_MAX, Point, RADIANS_PER_DEGREE, STEPS};
use crate::types::zset::ScoreRange;

/// Half of the map's width at the equator.
const MERCATOR_MAX_METERS: f64 = 20_037_726.37;
/// By how much a cheap comparison has to be clear to be believed.
const DOUBT: f64 = 1e-9;

/// Sizes in units of so many meters.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Shape {
    Circle { radius: f64, unit_meters: f64 },
    Rectangle { width: f64, height: f64, unit_meters: f64 },
}

impl Shape {
    fn unit_meters(&self) -> f64 {
        match *self {
            Shape::Circle { unit_meters, .. } | Shape::Rectangle { unit_meters, .. } => unit_meters,
        }
    }

    /// From the center to the edges, east and north, in meters.
    fn extent_meters(&self) -> (f64, f64) {
        match *self {
            Shape::Circle { radius, unit_meters } => (unit_meters * radius, unit_meters * radius),
            Shape::Rectangle { width, height, unit_meters } => {
                (unit_meters * (width / 2.0), unit_meters * (height / 2.0))
            }
        }
    }

    /// From the center to the farthest place, in meters.
    fn reach_meters(&self) -> f64 {
        match *self {
            Shape::Circle { radius, unit_meters } => radius * unit_meters,
            Shape::Rectangle { width, height, unit_meters } => {
                let (x, y) = (width / 2.0, height / 2.0);
                (x * x + y * y).sqrt() * unit_meters
            }
        }
    }

    /// The degrees the shape lies between, roughly.
    fn bounds(&self, center: Point) -> Edges {
        let (width, height) = self.extent_meters();
        let latitude_delta = height / EARTH_RADIUS_METERS / RADIANS_PER_DEGREE;
        let longitude_delta = |latitude: f64| {
            width / EARTH_RADIUS_METERS / (latitude * RADIANS_PER_DEGREE).cos() / RADIANS_PER_DEGREE
        };
        // The edge nearer to the pole is the longer one.
        let delta = match center.latitude < 0.0 {
            true => longitude_delta(center.latitude - latitude_delta),
            false => longitude_delta(center.latitude + latitude_delta),
        };
        Edges {
            west: center.longitude - delta,
            east: center.longitude + delta,
            south: center.latitude - latitude_delta,
            north: center.latitude + latitude_delta,
        }
    }
}

/// A shape around a center, ready to be searched.
pub struct Area {
    center: Point,
    shape: Shape,
    /// `None` where nothing can be found; the first one is the center's.
    cells: [Option<Cell>; 9],
    quick: Quick,
}

/// What decides most cases of a circle without the costly part of the formula.
struct Quick {
    center_radians: Point,
    center_cos: f64,
    radius_meters: f64,
    /// The haversine of the radius; more than all there are where the circle is the whole earth.
    haversine: f64,
}

impl Quick {
    fn new(center: Point, shape: &Shape) -> Quick {
        let (radius_meters, _) = shape.extent_meters();
        let angle = radius_meters / EARTH_RADIUS_METERS;
        let haversine = if angle < std::f64::consts::PI { (angle / 2.0).sin().powi(2) } else { 2.0 };
        let center_radians = center.radians();
        Quick { center_radians, center_cos: center_radians.latitude.cos(), radius_meters, haversine }
    }

    /// As [`Point::distance`], but `None` if it is more than the radius. What it is may be left out where it
    /// clearly is not: then it is 0.
    fn distance(&self, center: &Point, point: Point, wanted: bool) -> Option<f64> {
        let to = point.radians();
        let latitude_delta = to.latitude - self.center_radians.latitude;
        let at_least_meters = EARTH_RADIUS_METERS * latitude_delta.abs();
        if at_least_meters > self.radius_meters * (1.0 + DOUBT) + DOUBT {
            return None;
        }
        let v = ((to.longitude - self.center_radians.longitude) / 2.0).sin();
        let distance = if v == 0.0 {
            center.distance_of_latitudes(&point)
        } else {
            let u = (latitude_delta / 2.0).sin();
            let a = u * u + self.center_cos * to.latitude.cos() * v * v;
            match () {
                () if a > self.haversine * (1.0 + DOUBT) => return None,
                () if !wanted && a < self.haversine * (1.0 - DOUBT) => return Some(0.0),
                () => 2.0 * EARTH_RADIUS_METERS * a.sqrt().asin(),
            }
        };
        // Between antipodes rounding may make it no number, which is not more than the radius.
        if distance > self.radius_meters { None } else { Some(distance) }
    }
}

impl Area {
    pub fn new(center: Point, shape: Shape) -> Area {
        Area { center, shape, cells: cells(center, &shape), quick: Quick::new(center, &shape) }
    }

    /// The ranges of scores to look at, in order.
    pub fn ranges(&self) -> impl Iterator<Item = ScoreRange> + '_ {
        let mut last = None;
        self.cells.iter().enumerate().filter_map(move |(at, cell)| {
            let cell = (*cell)?;
            if last == Some(cell) {
                return None;
            }
            // In a large area, the boxes on both sides may be the same.
            last = (at > 0).then_some(cell);
            let to_score = |bits: u64| (bits << (2 * (STEPS - cell.steps))) as f64;
            Some(ScoreRange {
                min: to_score(cell.bits),
                max: to_score(cell.bits + 1),
                min_exclusive: false,
                max_exclusive: true,
            })
        })
    }

    /// How far from the center the place of a score is, in the shape's unit; `None` if it is outside. Where
    /// `wanted` is false, what is inside may be at 0.
    pub fn distance(&self, score: f64, wanted: bool) -> Option<f64> {
        let point = Point::from_score(score);
        let meters = match self.shape {
            Shape::Circle { .. } => self.quick.distance(&self.center, point, wanted)?,
            Shape::Rectangle { width, height, unit_meters } => {
                if point.distance_of_latitudes(&self.center) > height * unit_meters / 2.0 {
                    return None;
                }
                let beside = Point { longitude: self.center.longitude, ..point };
                if point.distance(&beside) > width * unit_meters / 2.0 {
                    return None;
                }
                if wanted { self.center.distance(&point) } else { 0.0 }
            }
        };
        Some(meters / self.shape.unit_meters())
    }
}

/// Halvings after which nine boxes cover so many meters around a latitude.
fn steps(reach_meters: f64, latitude: f64) -> u32 {
    if reach_meters == 0.0 {
        return STEPS;
    }
    let (mut meters, mut steps) = (reach_meters, 1);
    while meters < MERCATOR_MAX_METERS {
        meters *= 2.0;
        steps += 1;
    }
    // Mercator's boxes are narrow towards the poles.
    let narrower = i32::from(latitude.abs() > 66.0) + i32::from(latitude.abs() > 80.0);
    (steps - 2 - narrower).clamp(1, STEPS as i32) as u32
}

/// The boxes to search: the center's, then north, south, east, west, north-east, north-west, south-east,
/// south-west.
fn cells(center: Point, shape: &Shape) -> [Option<Cell>; 9] {
    const DIRECTIONS: [(i32, i32); 9] =
        [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
    let bounds = shape.bounds(center);
    let mut steps = steps(shape.reach_meters(), center.latitude);
    let mut cell = Cell::of(center, steps, LATITUDE_MAX);
    // Near an edge of its box the center may see past the box beside it.
    let falls_short = cell.moved(0, 1).edges().north < bounds.north
        || cell.moved(0, -1).edges().south > bounds.south
        || cell.moved(1, 0).edges().east < bounds.east
        || cell.moved(-1, 0).edges().west > bounds.west;
    if steps > 1 && falls_short {
        steps -= 1;
        cell = Cell::of(center, steps, LATITUDE_MAX);
    }
    let edges = cell.edges();
    let is_needed = |(east, north): (i32, i32)| {
        steps < 2
            || !(north < 0 && edges.south < bounds.south
                || north > 0 && edges.north > bounds.north
                || east < 0 && edges.west < bounds.west
                || east > 0 && edges.east > bounds.east)
    };
    DIRECTIONS.map(|direction| is_needed(direction).then(|| cell.moved(direction.0, direction.1)))
}

impl Cell {
    /// The box so many (-1, 0 or 1) to the east and to the north. Behind the last one comes the first one.
    fn moved(&self, east: i32, north: i32) -> Cell {
        const LONGITUDES: u64 = 0xaaaa_aaaa_aaaa_aaaa;
        const LATITUDES: u64 = 0x5555_5555_5555_5555;
        let unused = 64 - 2 * self.steps;
        // The bits of the other coordinate are set while one is counted, so that carries pass them.
        let count = |bits: u64, own: u64, other: u64, by: i32| {
            let other = other >> unused;
            let counted = match by {
                0 => return bits & own,
                1.. => (bits & own).wrapping_add(other + 1),
                _ => (bits & own | other).wrapping_sub(other + 1),
            };
            counted & (own >> unused)
        };
        let longitude = count(self.bits, LONGITUDES, LATITUDES, east);
        let latitude = count(self.bits, LATITUDES, LONGITUDES, north);
        Cell { bits: longitude | latitude, steps: self.steps }
    }
}
