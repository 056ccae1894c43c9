//! Places: sorted sets whose scores are geohashes.

mod search;

use super::prelude::*;
use super::zset::{self, AddCommand};
use keyspace::types::geo::Point;
use keyspace::types::number::{LongDouble, parse_double};
use keyspace::types::zset::ZSetValue;
use protocol::Reply;

/// A longitude and a latitude.
fn point(args: &mut Args<'_>) -> Result<Point, ReplyError> {
    let mut degrees = || parse_double(args.bytes()?).ok_or(ReplyError::NOT_FLOAT);
    let (longitude, latitude) = (degrees()?, degrees()?);
    Point::new(longitude, latitude).ok_or_else(|| {
        ReplyError::new(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}"))
    })
}

/// A unit of length, in meters.
fn unit_meters(args: &mut Args<'_>) -> Result<f64, ReplyError> {
    match () {
        () if args.flag("M") => Ok(1.0),
        () if args.flag("KM") => Ok(1000.0),
        () if args.flag("FT") => Ok(0.3048),
        () if args.flag("MI") => Ok(1609.34),
        () => Err(ReplyError::fixed("ERR unsupported unit provided. please use M, KM, FT, MI")),
    }
}

/// A distance: four decimals are enough of any unit.
fn reply_distance(reply: &mut Reply<'_>, distance: f64) {
    let scaled = (distance * 10_000.0).round_ties_even();
    let scaled = if scaled.abs() < i64::MAX as f64 { scaled as i64 } else { i64::MIN };
    let (sign, scaled) = (if scaled < 0 { "-" } else { "" }, scaled.unsigned_abs());
    reply.text(&format!("{sign}{}.{:04}", scaled / 10_000, scaled % 10_000));
}

fn reply_point(reply: &mut Reply<'_>, point: Point) {
    reply.array(2);
    for degrees in [point.longitude, point.latitude] {
        reply.double_text(&LongDouble::from_f64(degrees).text());
    }
}

fn geoadd(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let mut command = AddCommand::default();
    loop {
        match () {
            () if args.flag("NX") => command.options.nx = true,
            () if args.flag("XX") => command.options.xx = true,
            () if args.flag("CH") => command.changed = true,
            () => break,
        }
    }
    let is_contradictory = command.options.nx && command.options.xx;
    if !args.left().is_multiple_of(3) || is_contradictory || args.is_empty() {
        return Err(ReplyError::SYNTAX);
    }
    let mut elements = Vec::with_capacity(args.left() / 3);
    while !args.is_empty() {
        elements.push((point(args)?.score(), args.bytes()?));
    }
    zset::add(cx, key, &command, elements)
}

fn geodist(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, from, to) = (args.key()?, args.bytes()?, args.bytes()?);
    let unit = match args.left() {
        0 => 1.0,
        1 => unit_meters(args)?,
        _ => return Err(ReplyError::SYNTAX),
    };
    let place = |zset: &ZSetValue, member| zset.score(member).map(Point::from_score);
    let zset = cx.keys.typed::<ZSetValue>(key)?;
    let places = zset.and_then(|zset| Some((place(zset, from)?, place(zset, to)?)));
    match places {
        Some((from, to)) => reply_distance(&mut cx.reply, from.distance(&to) / unit),
        None => cx.reply.null(),
    }
    Ok(())
}

/// Replies with something about the place of each member.
fn reply_each(
    cx: &mut Cx<'_>,
    args: &mut Args<'_>,
    mut show: impl FnMut(&mut Reply<'_>, Option<Point>),
) -> Done {
    let key = args.key()?;
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let zset = keys.typed::<ZSetValue>(key)?;
    reply.array(args.left());
    for member in args.rest() {
        show(reply, zset.and_then(|zset| zset.score(member)).map(Point::from_score));
    }
    Ok(())
}

fn geohash(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_each(cx, args, |reply, point| match point {
        Some(point) => reply.bulk(&point.text()),
        None => reply.null(),
    })
}

fn geopos(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_each(cx, args, |reply, point| match point {
        Some(point) => reply_point(reply, point),
        None => reply.null_array(),
    })
}

use search::{georadius, georadius_ro, georadiusbymember, georadiusbymember_ro, geosearch, geosearchstore};

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("geoadd", -5, flags!(WRITE | DENYOOM), geoadd).keys(&[KeySpec::index(1).flags(key!(RW | UPDATE))]).acl(acl!(GEO)).group(Group::Geo).since("3.2.0"),
    CommandSpec::new("geodist", -4, flags!(READONLY), geodist).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(GEO)).group(Group::Geo).since("3.2.0"),
    CommandSpec::new("geohash", -2, flags!(READONLY), geohash).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(GEO)).group(Group::Geo).since("3.2.0"),
    CommandSpec::new("geopos", -2, flags!(READONLY), geopos).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(GEO)).group(Group::Geo).since("3.2.0"),
    CommandSpec::new("geosearch", -7, flags!(READONLY), geosearch).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(GEO)).group(Group::Geo).since("6.2.0"),
    CommandSpec::new("geosearchstore", -8, flags!(WRITE | DENYOOM), geosearchstore).keys(&[KeySpec::index(1).flags(key!(OW | UPDATE)), KeySpec::index(2).flags(key!(RO | ACCESS))]).acl(acl!(GEO)).group(Group::Geo).since("6.2.0"),
    CommandSpec::new("georadius", -6, flags!(WRITE | DENYOOM), georadius).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS)), KeySpec::keyword("STORE", 6).flags(key!(OW | UPDATE)), KeySpec::keyword("STOREDIST", 6).flags(key!(OW | UPDATE))]).acl(acl!(GEO)).group(Group::Geo).since("3.2.0"),
    CommandSpec::new("georadius_ro", -6, flags!(READONLY), georadius_ro).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(GEO)).group(Group::Geo).since("3.2.10"),
    CommandSpec::new("georadiusbymember", -5, flags!(WRITE | DENYOOM), georadiusbymember).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS)), KeySpec::keyword("STORE", 5).flags(key!(OW | UPDATE)), KeySpec::keyword("STOREDIST", 5).flags(key!(OW | UPDATE))]).acl(acl!(GEO)).group(Group::Geo).since("3.2.0"),
    CommandSpec::new("georadiusbymember_ro", -5, flags!(READONLY), georadiusbymember_ro).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(GEO)).group(Group::Geo).since("3.2.10"),
];
