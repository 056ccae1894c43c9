use super::*;
use proptest::prelude::*;

fn text(value: f64) -> String {
    String::from_utf8(double_text(value)).unwrap()
}

#[test]
fn integers_are_parsed_strictly() {
    for (text, value) in
        [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)]
    {
        assert_eq!(parse_i64(text.as_bytes()), Some(value), "{text}");
    }
    let refused =
        ["", "-", "+1", "01", "-0", " 1", "1 ", "1.0", "0x1", "9223372036854775808", "-9223372036854775809"];
    for text in
        refused.iter().chain(&["18446744073709551616", "00000000000000000000", "123456789012345678901"])
    {
        assert_eq!(parse_i64(text.as_bytes()), None, "{text}");
    }
}

/// The digits and the layout of stock's own formatter for doubles of every size. Each line: bits, text.
#[test]
fn doubles_print_as_stock_prints_them() {
    for line in include_str!("../../../tests/golden/double_texts.txt").lines() {
        let (bits, expected) = line.split_once(' ').unwrap();
        let value = f64::from_bits(bits.parse().unwrap());
        if double_as_i64(value).is_none() {
            assert_eq!(text(value), expected, "bits {bits}");
        }
    }
}

#[test]
fn notable_doubles() {
    for (value, expected) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (3.0, "3"),
        (-17.5, "-17.5"),
        (0.1, "0.1"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1.5e-7, "1.5e-7"),
        (1e17, "100000000000000000"),
        (4611686018427387904.0, "4611686018427387904"),
        (1e19, "1e+19"),
        (1e21, "1e+21"),
        (1.2345678e30, "1.2345678e+30"),
        (5e-324, "5e-324"),
        (f64::MAX, "1.7976931348623157e+308"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        (f64::NAN, "nan"),
    ] {
        assert_eq!(text(value), expected, "{value:e}");
    }
}

#[test]
fn doubles_are_parsed_as_strtod_does() {
    for (text, value) in [
        ("1", 1.0),
        ("+1", 1.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("1E+3", 1000.0),
        ("0x10", 16.0),
        ("-0X1.8p3", -12.0),
        ("0x1p-1074", 5e-324),
        ("0x1.fffffffffffff8p0", 2.0),
        ("0x1.fffffffffffff7p0", 1.9999999999999998),
        ("inf", f64::INFINITY),
        ("+INF", f64::INFINITY),
        ("-Infinity", f64::NEG_INFINITY),
        ("4.9e-324", 5e-324),
    ] {
        assert_eq!(parse_double(text.as_bytes()), Some(value), "{text}");
    }
    for text in [
        "",
        " 1",
        "1 ",
        "1\n",
        "nan",
        "-nan",
        "nan(1)",
        "infi",
        ".",
        "e5",
        "1e",
        "1e+",
        "0x",
        "0x.p1",
        "--1",
        "1_0",
        "1e400",
        "-1e400",
        "1e-400",
        "0x1p2000",
        "0x1p-2000",
        "1\0",
    ] {
        assert_eq!(parse_double(text.as_bytes()), None, "{text:?}");
    }
    assert_eq!(parse_double(b"0e-999999999"), Some(0.0));
}

#[test]
fn bounds_are_parsed_leniently() {
    for (text, value) in [
        ("", 0.0),
        ("  3", 3.0),
        ("1e400", f64::INFINITY),
        ("1e-400", 0.0),
        ("2\0junk", 2.0),
        ("-inf", f64::NEG_INFINITY),
    ] {
        assert_eq!(parse_double_bound(text.as_bytes()), Some(value), "{text:?}");
    }
    for text in ["nan", "1 ", " ", "x"] {
        assert_eq!(parse_double_bound(text.as_bytes()), None, "{text:?}");
    }
}

/// Sums as an x87 unit and glibc make them. Each line: two summands, the printed sum.
#[test]
fn long_doubles_add_up_as_on_x86() {
    for line in include_str!("../../../tests/golden/long_double_sums.txt").lines() {
        let [left, right, expected] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let parse = |text: &str| LongDouble::parse(text.as_bytes());
        let sum = parse(left).zip(parse(right)).and_then(|(left, right)| left.checked_add(right));
        let sum = sum.map_or("ERR".into(), |sum| String::from_utf8(sum.text()).unwrap());
        assert_eq!(sum, expected, "{left} + {right}");
    }
}

#[test]
fn long_double_edges() {
    let sum = |left: &str, right: &str| {
        let (left, right) = (LongDouble::parse(left.as_bytes())?, LongDouble::parse(right.as_bytes())?);
        left.checked_add(right).map(|sum| String::from_utf8(sum.text()).unwrap())
    };
    assert_eq!(sum("3.0e3", "200").as_deref(), Some("3200"));
    assert_eq!(sum("10.50", "0.1").as_deref(), Some("10.6"));
    assert_eq!(sum("-0", "-0").as_deref(), Some("0"));
    assert_eq!(sum("5.0e3", "-5.0e3").as_deref(), Some("0"));
    assert_eq!(sum("inf", "1").as_deref(), Some("inf"));
    assert_eq!(sum("inf", "-inf"), None);
    assert!(
        !LongDouble::parse(b"1.1e4932")
            .unwrap()
            .checked_add(LongDouble::parse(b"1.1e4932").unwrap())
            .unwrap()
            .is_finite()
    );
    for text in ["nan", "", " 1", "1e5000", "1e-5000", "1e999999999", "1x"] {
        assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text}");
    }
    assert_eq!(LongDouble::parse(&[b'1'; 5120]), None);
    assert_eq!(LongDouble::from_i64(i64::MIN).text(), b"-9223372036854775808");
}

proptest! {
    #![proptest_config(crate::types::test_config())]

    #[test]
    fn integer_texts_round_trip(value: i64) {
        let text = value.to_string();
        prop_assert_eq!(parse_i64(text.as_bytes()), Some(value));
        prop_assert_eq!(i64_text_len(value), text.len());
    }

    #[test]
    fn double_texts_round_trip(bits: u64) {
        let value = f64::from_bits(bits);
        prop_assume!(!value.is_nan());
        prop_assert_eq!(parse_double(&double_text(value)), Some(value));
    }

    #[test]
    fn no_text_panics(text in "[-+0-9.eExXpPinfa() ]{0,24}") {
        let _ = (parse_double(text.as_bytes()), parse_double_bound(text.as_bytes()), LongDouble::parse(text.as_bytes()));
    }
}
