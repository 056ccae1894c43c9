use super::*;

const PALERMO: Point = Point { longitude: 13.361389, latitude: 38.115556 };
const CATANIA: Point = Point { longitude: 15.087269, latitude: 37.502669 };

fn decoded(point: Point) -> Point {
    Point::from_score(point.score())
}

#[test]
fn scores_texts_and_distances_are_those_of_the_documentation() {
    assert_eq!(PALERMO.score(), 3_479_099_956_230_698.0);
    assert_eq!(CATANIA.score(), 3_479_447_370_796_909.0);
    assert_eq!(&decoded(PALERMO).text(), b"sqc8b49rny0");
    assert_eq!(&decoded(CATANIA).text(), b"sqdtr74hyu0");
    assert_eq!(format!("{:.4}", decoded(PALERMO).distance(&decoded(CATANIA))), "166274.1516");
    let palermo = decoded(PALERMO);
    assert_eq!((palermo.longitude, palermo.latitude), (13.361389338970184, 38.1155563954963));
}

#[test]
fn places_off_the_map_are_refused() {
    assert!(Point::new(180.0, 85.05112878).is_some());
    for (longitude, latitude) in
        [(180.1, 0.0), (0.0, 85.06), (-181.0, 0.0), (f64::INFINITY, 0.0), (0.0, f64::NAN)]
    {
        assert_eq!(Point::new(longitude, latitude), None);
    }
}

/// A member's score may have come by ZADD.
#[test]
fn every_score_stands_for_a_place() {
    for score in [0.0, -1.0, 1e300, -1e300, f64::INFINITY, f64::NEG_INFINITY, 9.3e18, 1.9e19, 4.6e15] {
        let point = Point::from_score(score);
        assert!(Point::new(point.longitude, point.latitude).is_some(), "{score}: {point:?}");
    }
}

#[test]
fn bits_are_taken_alternately() {
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..1000 {
        let (x, y) = (rng.u32(..), rng.u32(..));
        let both = interleave(x) | interleave(y) << 1;
        assert_eq!((deinterleave(both), deinterleave(both >> 1)), (x, y));
    }
    assert_eq!(interleave(0b101), 0b10001);
}

fn random_point(rng: &mut fastrand::Rng) -> Point {
    // Many near to each other, some anywhere.
    let scale = if rng.bool() { 1.0 } else { 0.01 };
    Point {
        longitude: (rng.f64() * 2.0 - 1.0) * 180.0 * scale,
        latitude: (rng.f64() * 2.0 - 1.0) * 85.0 * scale,
    }
}

/// Away from the poles and the edge of the map, the boxes hold every place of the shape, once; and what is
/// decided cheaply is what the formula says.
#[test]
fn an_area_is_what_the_formula_says() {
    let mut rng = fastrand::Rng::with_seed(11);
    let mut inside = 0;
    for round in 0..300 {
        let center = random_point(&mut rng);
        let center = Point { latitude: center.latitude * 0.7, longitude: center.longitude * 0.7 };
        let radius = 10f64.powf(rng.f64() * 5.0 + 1.0);
        let shape = match round % 2 {
            0 => Shape::Circle { radius, unit_meters: 1.0 },
            _ => Shape::Rectangle { width: radius, height: radius * 0.7, unit_meters: 1.0 },
        };
        let area = Area::new(center, shape);
        let ranges: Vec<_> = area.ranges().collect();
        for _ in 0..300 {
            let angle = rng.f64() * 4.0;
            let near = (radius / 60_000.0) * rng.f64();
            let point = Point {
                longitude: (center.longitude + near * angle.sin()).clamp(-180.0, 180.0),
                latitude: (center.latitude + near * angle.cos()).clamp(-85.0, 85.0),
            };
            let score = point.score();
            let point = Point::from_score(score);
            let distance = center.distance(&point);
            let expected = match shape {
                Shape::Circle { radius, .. } => distance <= radius,
                Shape::Rectangle { width, height, .. } => {
                    let beside = Point { longitude: center.longitude, ..point };
                    point.distance(&beside) <= width / 2.0
                        && point.distance_of_latitudes(&center) <= height / 2.0
                }
            };
            assert_eq!(
                area.distance(score, true),
                expected.then_some(distance),
                "{center:?} {shape:?} {point:?}"
            );
            assert_eq!(area.distance(score, false).is_some(), expected);
            let boxes = ranges.iter().filter(|range| range.contains(score)).count();
            assert!(boxes <= 1 && (boxes == 1 || !expected), "{center:?} {shape:?} {point:?} in {boxes}");
            inside += usize::from(expected);
        }
    }
    assert!(inside > 10_000, "only {inside} were inside");
}

#[test]
fn nonsense_shapes_are_harmless() {
    for radius in [0.0, 1e-300, 1e9, 1e300, f64::INFINITY] {
        for center in [
            PALERMO,
            Point { longitude: 180.0, latitude: 85.05112878 },
            Point { longitude: -180.0, latitude: -85.0 },
        ] {
            for shape in [
                Shape::Circle { radius, unit_meters: 1609.34 },
                Shape::Rectangle { width: radius, height: 1.0, unit_meters: 0.3048 },
            ] {
                let area = Area::new(center, shape);
                assert!((1..=9).contains(&area.ranges().count()));
                for score in [0.0, -1.0, 1e300, f64::NEG_INFINITY, center.score()] {
                    let _ = area.distance(score, true);
                }
            }
        }
    }
}
