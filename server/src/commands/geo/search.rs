//! What lies in a circle or a rectangle: GEOSEARCH and its ancestors.

use super::{point, reply_distance, reply_point, unit_meters};
use crate::commands::common::{element, store_result};
use crate::commands::partial_sort::sort_front;
use crate::commands::prelude::*;
use crate::exec::table::Command;
use keyspace::listpack::Element;
use keyspace::types::geo::{Area, Point, Shape};
use keyspace::types::number::parse_double;
use keyspace::types::zset::ZSetValue;
use protocol::{Argv, Reply};

/// How the commands differ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Center and circle come first; a key to store at may be an option.
    Radius { by_member: bool, read_only: bool },
    /// Everything is an option. GEOSEARCHSTORE has the key to store at first.
    Search { stores: bool },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Nearest,
    Farthest,
}

/// What is asked for.
#[derive(Default)]
struct Query {
    /// Without a set, FROMMEMBER is no place.
    center: Option<Point>,
    from_member: bool,
    from_place: bool,
    shape: Option<Shape>,
    with_coord: bool,
    with_dist: bool,
    with_hash: bool,
    order: Option<Order>,
    count: Option<usize>,
    any: bool,
    /// Which of the arguments is the key to store at.
    store: Option<usize>,
    store_dist: bool,
}

/// A length by the name that errors have for it.
fn length(args: &mut Args<'_>, name: &str) -> Result<f64, ReplyError> {
    let length = parse_double(args.bytes()?);
    length.ok_or_else(|| ReplyError::new(format!("ERR need numeric {name}")))
}

fn circle(args: &mut Args<'_>) -> Result<Shape, ReplyError> {
    let radius = length(args, "radius")?;
    if radius < 0.0 {
        return Err(ReplyError::fixed("ERR radius cannot be negative"));
    }
    Ok(Shape::Circle { radius, unit_meters: unit_meters(args)? })
}

fn rectangle(args: &mut Args<'_>) -> Result<Shape, ReplyError> {
    let (width, height) = (length(args, "width")?, length(args, "height")?);
    if width < 0.0 || height < 0.0 {
        return Err(ReplyError::fixed("ERR height or width cannot be negative"));
    }
    Ok(Shape::Rectangle { width, height, unit_meters: unit_meters(args)? })
}

/// The place of a member; `None` without a set.
fn place_of(zset: Option<&ZSetValue>, member: &[u8]) -> Result<Option<Point>, ReplyError> {
    let Some(zset) = zset else { return Ok(None) };
    let score = zset.score(member);
    let score = score.ok_or(ReplyError::fixed("ERR could not decode requested zset member"))?;
    Ok(Some(Point::from_score(score)))
}

impl Query {
    /// Parses what follows the keys. Errors come in stock's order, so the set is looked into meanwhile.
    fn parse(
        args: &mut Args<'_>,
        form: Form,
        zset: Option<&ZSetValue>,
        name: &[u8],
    ) -> Result<Query, ReplyError> {
        let mut query = Query::default();
        if let Form::Radius { by_member, .. } = form {
            query.parse_circle(args, by_member, zset)?;
        }
        while !args.is_empty() {
            query.parse_option(args, form, zset)?;
        }
        query.check(form, name)?;
        Ok(query)
    }

    /// The fixed arguments of GEORADIUS and GEORADIUSBYMEMBER.
    fn parse_circle(&mut self, args: &mut Args<'_>, by_member: bool, zset: Option<&ZSetValue>) -> Done {
        self.center = if by_member { place_of(zset, args.bytes()?)? } else { Some(point(args)?) };
        // Without the member's set nobody looks at the circle.
        if by_member && zset.is_none() {
            args.bytes()?;
            args.bytes()?;
            return Ok(());
        }
        self.shape = Some(circle(args)?);
        Ok(())
    }

    fn parse_option(&mut self, args: &mut Args<'_>, form: Form, zset: Option<&ZSetValue>) -> Done {
        let is_search = matches!(form, Form::Search { .. });
        let may_store = matches!(form, Form::Radius { read_only: false, .. });
        let is_circle = matches!(self.shape, Some(Shape::Circle { .. }));
        let is_rectangle = matches!(self.shape, Some(Shape::Rectangle { .. }));
        // An option whose arguments are missing is no option.
        let left = args.left();
        match () {
            () if args.flag("WITHDIST") => self.with_dist = true,
            () if args.flag("WITHHASH") => self.with_hash = true,
            () if args.flag("WITHCOORD") => self.with_coord = true,
            () if args.flag("ANY") => self.any = true,
            () if args.flag("ASC") => self.order = Some(Order::Nearest),
            () if args.flag("DESC") => self.order = Some(Order::Farthest),
            () if left > 1 && args.flag("COUNT") => {
                let count = args.i64()?;
                if count <= 0 {
                    return Err(ReplyError::fixed("ERR COUNT must be > 0"));
                }
                self.count = Some(count as usize);
            }
            () if left > 1 && may_store && args.flag("STORE") => {
                (self.store, self.store_dist) = (Some(args.position()), false);
                args.key()?;
            }
            () if left > 1 && may_store && args.flag("STOREDIST") => {
                (self.store, self.store_dist) = (Some(args.position()), true);
                args.key()?;
            }
            () if form == (Form::Search { stores: true }) && args.flag("STOREDIST") => self.store_dist = true,
            () if left > 1 && is_search && !self.from_place && args.flag("FROMMEMBER") => {
                (self.center, self.from_member) = (place_of(zset, args.bytes()?)?, true);
            }
            () if left > 2 && is_search && !self.from_member && args.flag("FROMLONLAT") => {
                (self.center, self.from_place) = (Some(point(args)?), true);
            }
            () if left > 2 && is_search && !is_rectangle && args.flag("BYRADIUS") => {
                self.shape = Some(circle(args)?);
            }
            () if left > 3 && is_search && !is_circle && args.flag("BYBOX") => {
                self.shape = Some(rectangle(args)?);
            }
            () => return Err(ReplyError::SYNTAX),
        }
        Ok(())
    }

    fn check(&self, form: Form, name: &[u8]) -> Done {
        let name = String::from_utf8_lossy(name);
        let is_search = matches!(form, Form::Search { .. });
        let stores = self.store.is_some() || form == Form::Search { stores: true };
        let text = match () {
            () if stores && (self.with_dist || self.with_hash || self.with_coord) => {
                let what = if is_search { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
                format!("ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options")
            }
            () if is_search && !self.from_member && !self.from_place => {
                format!("ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {name}")
            }
            () if is_search && self.shape.is_none() => {
                format!("ERR exactly one of BYRADIUS and BYBOX can be specified for {name}")
            }
            () if self.any && self.count.is_none() => "ERR the ANY argument requires COUNT argument".into(),
            () => return Ok(()),
        };
        Err(ReplyError::new(text))
    }
}

/// A member inside.
struct Found<'z> {
    /// In the query's unit; 0 where nobody wants to know.
    distance: f64,
    score: f64,
    member: Element<'z>,
}

impl Query {
    fn wants_distances(&self) -> bool {
        self.with_dist || self.store_dist || self.order().is_some()
    }

    fn order(&self) -> Option<Order> {
        // A count is of the nearest ones, unless any will do.
        self.order.or_else(|| (self.count.is_some() && !self.any).then_some(Order::Nearest))
    }

    fn run<'z>(&self, zset: &'z ZSetValue) -> Vec<Found<'z>> {
        let (Some(center), Some(shape)) = (self.center, self.shape) else { return Vec::new() };
        let mut found = self.look_around(zset, &Area::new(center, shape));
        let count = self.count.unwrap_or(usize::MAX).min(found.len());
        if let Some(order) = self.order() {
            sort(&mut found, order, count);
        }
        found.truncate(count);
        found
    }

    /// The members inside, in the order of the map.
    fn look_around<'z>(&self, zset: &'z ZSetValue, area: &Area) -> Vec<Found<'z>> {
        let enough = if self.any { self.count.unwrap_or(usize::MAX) } else { usize::MAX };
        let wanted = self.wants_distances();
        let mut found = Vec::new();
        for range in area.ranges() {
            for (member, score) in zset.range(zset.ranks_by_score(&range)) {
                if let Some(distance) = area.distance(score, wanted) {
                    found.push(Found { distance, score, member });
                    if found.len() >= enough {
                        return found;
                    }
                }
            }
        }
        found
    }

    fn reply(&self, reply: &mut Reply<'_>, found: &[Found<'_>]) {
        let details = [self.with_dist, self.with_hash, self.with_coord];
        let details = details.into_iter().filter(|with| *with).count();
        reply.array(found.len());
        for one in found {
            if details > 0 {
                reply.array(details + 1);
            }
            element(reply, one.member);
            if self.with_dist {
                reply_distance(reply, one.distance);
            }
            if self.with_hash {
                reply.integer(one.score as i64);
            }
            if self.with_coord {
                reply_point(reply, Point::from_score(one.score));
            }
        }
    }
}

/// Sorts the first `count` to the front. Where that is all, of equal distances the one found first comes first.
fn sort(found: &mut [Found<'_>], order: Order, count: usize) {
    let compare = |a: &Found<'_>, b: &Found<'_>| {
        let (low, high) = if order == Order::Nearest { (a, b) } else { (b, a) };
        low.distance.total_cmp(&high.distance)
    };
    if count < found.len() {
        sort_front(found, count, compare);
    } else {
        found.sort_by(compare);
    }
}

fn search(cx: &mut Cx<'_>, args: &mut Args<'_>, form: Form) -> Done {
    let target = if form == (Form::Search { stores: true }) { Some(args.key()?) } else { None };
    let key = args.key()?;
    let (name, limits) = (args.argv().name(), &cx.settings.limits);
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let zset = keys.typed::<ZSetValue>(key)?;
    let query = Query::parse(args, form, zset, name)?;
    if query.store.is_some_and(|at| !is_named(cx.command, args.argv(), at)) {
        return Err(ReplyError::SYNTAX);
    }
    let found = zset.map_or(Vec::new(), |zset| query.run(zset));
    let Some(target) = target.or(query.store.map(|at| args.argv().get(at))) else {
        query.reply(reply, &found);
        return Ok(());
    };
    let mut result = ZSetValue::with_hints(found.len(), 0, limits);
    for one in &found {
        let score = if query.store_dist { one.distance } else { one.score };
        result.insert(one.member.text(&mut itoa::Buffer::new()), score, limits);
    }
    let event = if matches!(form, Form::Search { .. }) { "geosearchstore" } else { "georadiusstore" };
    store_result(cx, target, result, event);
    Ok(())
}

/// Whether the command's key specs name this argument. Where STORE is given twice they name the first key, and
/// the slot of another one is not locked.
fn is_named(command: &Command, argv: Argv<'_>, position: usize) -> bool {
    let mut is_named = false;
    let all_named = command.spec.each_key(argv, |at, _| is_named |= at == position);
    all_named.is_ok() && is_named
}

pub fn georadius(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    search(cx, args, Form::Radius { by_member: false, read_only: false })
}

pub fn georadius_ro(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    search(cx, args, Form::Radius { by_member: false, read_only: true })
}

pub fn georadiusbymember(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    search(cx, args, Form::Radius { by_member: true, read_only: false })
}

pub fn georadiusbymember_ro(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    search(cx, args, Form::Radius { by_member: true, read_only: true })
}

pub fn geosearch(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    search(cx, args, Form::Search { stores: false })
}

pub fn geosearchstore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    search(cx, args, Form::Search { stores: true })
}
