//! Keys as the log says that they are, by way of real logs.

use indelible::{KeyRing, Options, clock::SystemClock};
use indelible_core::{entry::BodyKind, tree::LeafIndex};
use indelible_store::store::parse_line;

use super::{said::STEP, *};
use crate::{
    access::{Grant, Role},
    lines::{self, KEYS_OF_ONE, Line, MAX_LINE, OVERLAPPING, RESERVED},
};

struct World {
    dir: tempfile::TempDir,
    ring: KeyRing,
}

impl World {
    fn new() -> (Self, Identities) {
        let dir = tempfile::tempdir().unwrap();
        let ring = KeyRing::load_or_create(&dir.path().join("keys")).unwrap();
        let log = Log::create(&dir.path().join("log"), "t.example/_server", &ring, Options::default()).unwrap();
        drop(log);
        let world = Self { dir, ring };
        let keys = world.again().unwrap();
        (world, keys)
    }

    fn again(&self) -> Result<Identities, ServerError> {
        let (path, ring) = (self.dir.path().join("log"), self.ring.clone());
        let open = move || Log::open(&path, &ring, Options::default());
        Identities::load(Box::new(open), Arc::new(SystemClock::default()))
    }
}

fn new_key(role: Role) -> NewKey {
    let grant = Grant { role, verbs: Vec::new(), logs: vec![crate::access::Pattern::all()] };
    NewKey { name: "test".to_owned(), grant, rate_per_minute: 7, expires_at: None }
}

#[test]
fn what_is_known_is_what_the_log_says() {
    let (world, keys) = World::new();
    let (one, token) = keys.create(By::Operator, new_key(Role::Admin)).unwrap();
    let (two, second) = keys.create(By::Key(&one), new_key(Role::Writer)).unwrap();
    assert_eq!(keys.authenticate(&token).as_deref(), Some(&*one));
    keys.revoke(By::Key(&one), &two.id).unwrap();
    assert_eq!(keys.authenticate(&second), None);
    keys.log().unwrap().close().unwrap();
    drop(keys);
    let keys = world.again().unwrap();
    assert_eq!(keys.authenticate(&token).map(|key| key.id.clone()), Some(one.id.clone()));
    assert_eq!(keys.authenticate(&second), None);
    assert_eq!(keys.all().len(), 2);
    assert!(keys.has_admin());
}

/// Puts so many keys in force that `maker` made, without their events.
fn fill(keys: &Identities, maker: &ApiKey, count: usize) {
    for at in 0..count {
        let id = format!("{}-{at}", maker.id);
        let line = Line::of(&id, Some(&maker.line));
        keys.put(ApiKey { id, line, ..maker.clone() });
    }
}

#[test]
fn one_who_makes_keys_without_end_is_in_nobody_elses_way() {
    let (world, keys) = World::new();
    let (root, _) = keys.create(By::Operator, new_key(Role::Admin)).unwrap();
    let (tenant, _) = keys.create(By::Key(&root), new_key(Role::Admin)).unwrap();
    let (other, _) = keys.create(By::Key(&root), new_key(Role::Admin)).unwrap();
    let (below, _) = keys.create(By::Key(&tenant), new_key(Role::Admin)).unwrap();
    fill(&keys, &below, KEYS_OF_ONE - 2);
    let (last, _) = keys.create(By::Key(&tenant), new_key(Role::Writer)).unwrap();
    for maker in [&tenant, &below] {
        let refused = keys.create(By::Key(maker), new_key(Role::Writer));
        assert!(matches!(&refused, Err(IdentityError::Share(id)) if *id == tenant.id), "{refused:?}");
    }
    // Nobody else is in want of room, and what it has can be rotated and revoked.
    keys.create(By::Key(&other), new_key(Role::Writer)).unwrap();
    let (next, _) = keys.rotate(By::Key(&tenant), &last.id, Micros(i64::MAX / 2)).unwrap();
    assert_eq!(next.line, last.line);
    let refused = keys.create(By::Key(&tenant), new_key(Role::Writer));
    assert!(matches!(refused, Err(IdentityError::Share(_))), "a rotation makes no room either");
    keys.revoke(By::Key(&tenant), &last.id).unwrap();
    keys.revoke(By::Key(&tenant), &next.id).unwrap();
    keys.create(By::Key(&below), new_key(Role::Writer)).unwrap();
    // A tenant that is rotated is the same tenant, also for whoever reads it in the log.
    let (again, _) = keys.rotate(By::Key(&root), &tenant.id, Micros(i64::MAX / 2)).unwrap();
    let refused = keys.create(By::Key(&again), new_key(Role::Writer));
    assert!(matches!(refused, Err(IdentityError::Share(id)) if id == tenant.id));
    let lines: Vec<_> = [&root, &tenant, &other, &below, &again].map(|key| key.line.clone()).into();
    keys.log().unwrap().close().unwrap();
    drop(keys);
    let keys = world.again().unwrap();
    let read = [&root, &tenant, &other, &below, &again].map(|key| keys.get(&key.id).unwrap().line.clone());
    assert_eq!(lines, read);
}

#[test]
fn where_all_places_are_taken_the_operator_has_some_and_keys_are_rotated() {
    let (_world, keys) = World::new();
    let (root, _) = keys.create(By::Operator, new_key(Role::Admin)).unwrap();
    let (tenant, _) = keys.create(By::Key(&root), new_key(Role::Admin)).unwrap();
    fill(&keys, &root, MAX_KEYS - RESERVED - 2);
    let refused = keys.create(By::Key(&tenant), new_key(Role::Writer));
    assert!(matches!(refused, Err(IdentityError::TooMany)));
    keys.create(By::Key(&root), new_key(Role::Writer)).unwrap();
    fill(&keys, &ApiKey { id: "more".to_owned(), ..(*root).clone() }, RESERVED - 1);
    for by in [By::Operator, By::Key(&root)] {
        assert!(matches!(keys.create(by, new_key(Role::Writer)), Err(IdentityError::TooMany)));
    }
    let mut of = tenant.id.clone();
    for _ in 1..OVERLAPPING {
        of = keys.rotate(By::Key(&root), &of, Micros(i64::MAX / 2)).unwrap().0.id.clone();
    }
    // Of one key there are so many and no more, or it would have all places.
    let refused = keys.rotate(By::Key(&root), &of, Micros(i64::MAX / 2));
    assert!(matches!(refused, Err(IdentityError::Overlapping(id)) if id == tenant.id));
    keys.revoke(By::Operator, &tenant.id).unwrap();
    keys.rotate(By::Key(&root), &of, Micros(1)).unwrap();
}

#[test]
fn a_line_of_keys_that_make_keys_comes_to_an_end() {
    let (_world, keys) = World::new();
    let (mut maker, _) = keys.create(By::Operator, new_key(Role::Admin)).unwrap();
    for _ in 1..MAX_LINE {
        maker = keys.create(By::Key(&maker), new_key(Role::Admin)).unwrap().0;
    }
    assert!(matches!(keys.create(By::Key(&maker), new_key(Role::Admin)), Err(IdentityError::Line)));
    keys.rotate(By::Key(&maker), &maker.id, Micros(i64::MAX / 2)).unwrap();
}

#[test]
fn a_key_draws_on_the_rates_of_all_that_it_comes_from() {
    let (_world, keys) = World::new();
    let rate = |rate_per_minute| NewKey { rate_per_minute, ..new_key(Role::Admin) };
    let (root, _) = keys.create(By::Operator, rate(0)).unwrap();
    let (tenant, _) = keys.create(By::Key(&root), rate(60)).unwrap();
    let (one, _) = keys.create(By::Key(&tenant), rate(60)).unwrap();
    let (two, _) = keys.create(By::Key(&one), rate(60)).unwrap();
    let (rates, now) = (crate::guard::Rates::default(), Instant::now());
    let draw = |key: &ApiKey| lines::draw(&rates, &keys, key, now);
    assert_eq!(draw(&root), None);
    let mut granted = 0;
    for key in [&one, &two, &tenant].into_iter().cycle().take(60) {
        granted += u32::from(draw(key).unwrap().granted);
    }
    assert_eq!(granted, 10, "they have the bucket of one");
    assert!(draw(&two).is_some_and(|told| !told.granted && told.reset > 0));
    // A successor has its predecessor's bucket, and a revocation empties none that others draw on.
    let (next, _) = keys.rotate(By::Operator, &tenant.id, Micros(i64::MAX / 2)).unwrap();
    assert!(!draw(&next).unwrap().granted);
    keys.revoke(By::Operator, &tenant.id).unwrap();
    lines::forget(&rates, &keys, &tenant);
    assert!(!draw(&next).unwrap().granted && !draw(&one).unwrap().granted);
    let (stranger, _) = keys.create(By::Key(&root), rate(60)).unwrap();
    assert!(draw(&stranger).unwrap().granted);
}

#[test]
fn only_the_whole_token_is_good() {
    let (_world, keys) = World::new();
    let (key, token) = keys.create(By::Operator, new_key(Role::Writer)).unwrap();
    let other = keys.create(By::Operator, new_key(Role::Writer)).unwrap().1;
    let cut = token.get(..token.len() - 1).unwrap().to_owned();
    let mixed = format!("idl_{}_{}", key.id, other.splitn(3, '_').last().unwrap());
    let renamed = token.replacen("idl_", "xyz_", 1);
    for wrong in [cut, mixed, renamed, format!("{}x", *token), key.id.clone(), String::new(), "idl__".to_owned()] {
        assert_eq!(keys.authenticate(&wrong), None, "{wrong}");
    }
    assert!(keys.authenticate(&token).is_some());
}

#[test]
fn a_key_ends_and_a_rotated_one_overlaps() {
    let (world, keys) = World::new();
    let past = NewKey { expires_at: Some(Micros(1)), ..new_key(Role::Reader) };
    let (_, ended) = keys.create(By::Operator, past).unwrap();
    assert_eq!(keys.authenticate(&ended), None);
    let (old, first) = keys.create(By::Operator, new_key(Role::Reader)).unwrap();
    let (new, second) = keys.rotate(By::Operator, &old.id, Micros(i64::MAX / 2)).unwrap();
    assert!(keys.authenticate(&first).is_some() && keys.authenticate(&second).is_some());
    assert_eq!((new.grant.clone(), new.rate_per_minute), (old.grant.clone(), old.rate_per_minute));
    let (_, third) = keys.rotate(By::Operator, &new.id, Micros(1)).unwrap();
    assert!(keys.authenticate(&second).is_none() && keys.authenticate(&third).is_some());
    assert!(matches!(keys.rotate(By::Operator, &new.id, Micros(1)), Err(IdentityError::Ended(_))));
    keys.log().unwrap().close().unwrap();
    drop(keys);
    let keys = world.again().unwrap();
    let good = [&first, &second, &third].map(|token| keys.authenticate(token).is_some());
    assert_eq!(good, [true, false, true]);
}

#[test]
fn a_key_that_ended_changes_nothing_and_makes_none_that_outlives_it() {
    let (_world, keys) = World::new();
    let (other, _) = keys.create(By::Operator, new_key(Role::Writer)).unwrap();
    let ending = NewKey { expires_at: Some(Micros(i64::MAX / 2)), ..new_key(Role::Admin) };
    let (admin, _) = keys.create(By::Operator, ending).unwrap();
    for expires_at in [None, Some(Micros(i64::MAX))] {
        let (child, _) = keys.create(By::Key(&admin), NewKey { expires_at, ..new_key(Role::Writer) }).unwrap();
        assert_eq!(child.expires_at, admin.expires_at);
    }
    keys.revoke(By::Operator, &admin.id).unwrap();
    // What it had asked for before is asked of it as it is now.
    let asker = || By::Key(&admin);
    assert!(matches!(keys.create(asker(), new_key(Role::Writer)), Err(IdentityError::Asker)));
    assert!(matches!(keys.rotate(asker(), &other.id, Micros(1)), Err(IdentityError::Asker)));
    assert!(matches!(keys.revoke(asker(), &other.id), Err(IdentityError::Asker)));
}

#[test]
fn a_revocation_that_was_not_recorded_is_recorded_when_it_is_asked_for_again() {
    let (world, keys) = World::new();
    let (key, token) = keys.create(By::Operator, new_key(Role::Writer)).unwrap();
    // The log under it is closed, as a failed one is.
    keys.log().unwrap().close().unwrap();
    assert!(matches!(keys.revoke(By::Operator, &key.id), Err(IdentityError::Append(_))));
    assert_eq!(keys.authenticate(&token), None, "it has ended all the same");
    keys.revoke(By::Operator, &key.id).unwrap();
    let size = keys.log().unwrap().size().unwrap();
    keys.revoke(By::Operator, &key.id).unwrap();
    assert_eq!(keys.log().unwrap().size().unwrap(), size, "once is enough");
    drop(keys);
    assert_eq!(world.again().unwrap().authenticate(&token), None);
}

#[test]
fn a_certificate_that_another_server_bound_has_its_key_here_too() {
    let ((_elsewhere, other), (_world, keys)) = (World::new(), World::new());
    let to = Binding::Dns("a.example".to_owned());
    let theirs = other.bind(By::Operator, new_key(Role::Reader), to.clone()).unwrap();
    assert_eq!(other.bound_to(&to).as_deref(), Some(&*theirs));
    // What it recorded comes into this log, as from another server of one database.
    let recorded = other.log().unwrap().read(LeafIndex(0), STEP).unwrap();
    let lines = (0..).zip(recorded.lines()).map(|(index, text)| parse_line(text, index).unwrap());
    let events: Vec<_> = lines.filter(|line| line.entry.kind == BodyKind::Event).collect();
    let events: Vec<_> = events.iter().map(|line| line.entry.body.to_vec()).collect();
    assert!(keys.append_all(&events).iter().all(Result::is_ok) && keys.bound_to(&to).is_none());
    keys.follow().unwrap();
    assert_eq!(keys.bound_to(&to).map(|key| key.id.clone()), Some(theirs.id.clone()));
    let again = keys.bind(By::Operator, new_key(Role::Reader), to.clone());
    assert!(matches!(again, Err(IdentityError::Bound(id)) if id == theirs.id));
    // Who has ended binds and rotates nothing, and no bound key outlives its maker.
    let ending = NewKey { expires_at: Some(Micros(i64::MAX / 2)), ..new_key(Role::Admin) };
    let (admin, _) = keys.create(By::Operator, ending).unwrap();
    let next = Binding::Dns("b.example".to_owned());
    let bound = keys.bind(By::Key(&admin), new_key(Role::Reader), next.clone()).unwrap();
    assert_eq!(bound.expires_at, admin.expires_at);
    keys.revoke(By::Operator, &admin.id).unwrap();
    let refused = keys.bind(By::Key(&admin), new_key(Role::Reader), Binding::Dns("c.example".to_owned()));
    assert!(matches!(refused, Err(IdentityError::Asker)));
    let refused = keys.rotate_to(By::Key(&admin), &theirs.id, Micros(1), next);
    assert!(matches!(refused, Err(IdentityError::Asker)));
}

#[test]
fn nobody_hands_out_a_higher_rate() {
    let (_world, keys) = World::new();
    let (key, _) = keys.create(By::Operator, new_key(Role::Admin)).unwrap();
    for rate in [0, 8] {
        let new = NewKey { rate_per_minute: rate, ..new_key(Role::Writer) };
        assert!(matches!(keys.create(By::Key(&key), new), Err(IdentityError::Rate)), "{rate}");
    }
}

#[test]
fn a_key_that_was_written_into_the_files_is_not_believed() {
    let (world, keys) = World::new();
    let (key, token) = keys.create(By::Operator, new_key(Role::Writer)).unwrap();
    // Opening a log looks at its last entry: this one hides that it was not the last that was changed.
    keys.create(By::Operator, new_key(Role::Auditor)).unwrap();
    keys.log().unwrap().close().unwrap();
    drop(keys);
    let segments = world.dir.path().join("log/segments");
    let segment = std::fs::read_dir(segments).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&segment).unwrap();
    // Of the same length, so that nothing but the tree gives it away.
    let forged = text.replace(r#""role":"writer""#, r#""role":"reader""#);
    assert_ne!(forged, text);
    std::fs::remove_file(&segment).unwrap();
    std::fs::write(&segment, forged).unwrap();
    assert!(matches!(world.again().err(), Some(ServerError::Identity { .. })));
    // The other side: as it was, it is believed.
    std::fs::write(&segment, text).unwrap();
    assert_eq!(world.again().unwrap().authenticate(&token).unwrap().id, key.id);
}

#[test]
fn what_a_key_made_ends_with_it_and_stays_ended() {
    let (world, keys) = World::new();
    let make = |by: By<'_>, role| keys.create(by, new_key(role)).unwrap();
    let (root, _) = make(By::Operator, Role::Admin);
    let (stolen, first) = make(By::Key(&root), Role::Admin);
    let (door, second) = make(By::Key(&stolen), Role::Admin);
    let (_, third) = make(By::Key(&door), Role::Writer);
    let (_, other) = make(By::Key(&root), Role::Writer);
    let good = |keys: &Identities| [&first, &second, &third, &other].map(|token| keys.authenticate(token).is_some());
    assert_eq!(good(&keys), [true; 4]);
    keys.revoke(By::Key(&root), &stolen.id).unwrap();
    assert_eq!(good(&keys), [false, false, false, true]);
    assert!(!keys.is_still_good(&door), "nor is it for what goes on already");
    let shown = keys.shown(&door);
    assert_eq!((&shown["state"], &shown["made_by"]), (&"maker_ended".into(), &stolen.id.as_str().into()));
    assert!(matches!(keys.create(By::Key(&door), new_key(Role::Writer)), Err(IdentityError::Asker)));
    assert!(matches!(keys.rotate(By::Key(&root), &door.id, Micros(1)), Err(IdentityError::Ended(_))));
    keys.log().unwrap().close().unwrap();
    drop(keys);
    let again = world.again().unwrap();
    assert_eq!(good(&again), [false, false, false, true]);
    assert_eq!(again.get(&door.id).unwrap().made_by, Some(stolen.id.clone()));
}

#[test]
fn a_maker_goes_on_in_its_successor_and_ends_with_the_last() {
    let (_world, keys) = World::new();
    let (root, _) = keys.create(By::Operator, new_key(Role::Admin)).unwrap();
    let (maker, _) = keys.create(By::Key(&root), new_key(Role::Admin)).unwrap();
    let (_, made) = keys.create(By::Key(&maker), new_key(Role::Writer)).unwrap();
    let (next, _) = keys.rotate(By::Key(&root), &maker.id, Micros(1)).unwrap();
    assert!(keys.authenticate(&made).is_some(), "the maker is the same key by rotation");
    // Replaced by whom it comes from: ending the old one leaves the new one.
    let (_, beside) = keys.revoke(By::Key(&root), &maker.id).unwrap();
    assert!(beside.is_empty() && keys.authenticate(&made).is_some());
    assert_eq!(keys.beside(&maker), std::slice::from_ref(&next.id));
    keys.revoke(By::Key(&root), &next.id).unwrap();
    assert!(keys.authenticate(&made).is_none());
}

#[test]
fn a_thief_rotates_nothing_out_of_reach() {
    let (_world, keys) = World::new();
    let far = Micros(i64::MAX / 2);
    let (root, _) = keys.create(By::Operator, new_key(Role::Admin)).unwrap();
    let (spare, _) = keys.create(By::Operator, new_key(Role::Admin)).unwrap();
    let (stolen, _) = keys.create(By::Key(&root), new_key(Role::Admin)).unwrap();
    let (door, _) = keys.create(By::Key(&stolen), new_key(Role::Admin)).unwrap();
    // With the token itself, with the successor's, and with that of a key that it made.
    let (first, one) = keys.rotate(By::Key(&stolen), &stolen.id, far).unwrap();
    let (_, two) = keys.rotate(By::Key(&first), &first.id, far).unwrap();
    let (_, three) = keys.rotate(By::Key(&door), &door.id, far).unwrap();
    let (_, beside) = keys.revoke(By::Key(&root), &stolen.id).unwrap();
    assert_eq!(beside.len(), 2, "those of its own line; what it made ends with the line");
    for token in [&one, &two, &three] {
        assert!(keys.authenticate(token).is_none());
    }
    // Of what is not its own it rotates nothing, and does not end those that it comes from.
    let (theirs, _) = keys.create(By::Key(&root), new_key(Role::Writer)).unwrap();
    let (other, _) = keys.create(By::Key(&root), new_key(Role::Admin)).unwrap();
    for id in [&theirs.id, &root.id, &spare.id] {
        assert!(matches!(keys.rotate(By::Key(&other), id, far), Err(IdentityError::NotYours(_))));
    }
    assert!(matches!(keys.revoke(By::Key(&other), &root.id), Err(IdentityError::NotYours(_))));
    // The operator's own may replace one another, and what a stolen one of them rotated out ends with it too.
    let (taken, token) = keys.rotate(By::Key(&root), &spare.id, far).unwrap();
    assert_eq!(keys.revoke(By::Operator, &root.id).unwrap().1, std::slice::from_ref(&taken.id));
    assert!(keys.authenticate(&token).is_none());
    // Whoever rotated its own key ends the old one alone.
    let (next, token) = keys.rotate(By::Key(&spare), &spare.id, far).unwrap();
    assert!(keys.revoke(By::Key(&next), &spare.id).unwrap().1.is_empty());
    assert!(keys.authenticate(&token).is_some());
}

#[test]
fn a_certificate_is_bound_by_who_may_do_everything_alone() {
    let (world, keys) = World::new();
    let victim = Binding::Sha256("ab".repeat(32));
    let (root, _) = keys.create(By::Operator, new_key(Role::Admin)).unwrap();
    let mut narrow = new_key(Role::Admin);
    narrow.grant.logs = vec![crate::access::Pattern::try_from("t/*".to_owned()).unwrap()];
    let (tenant, _) = keys.create(By::Key(&root), narrow.clone()).unwrap();
    let writer = NewKey { grant: Grant { role: Role::Writer, ..narrow.grant.clone() }, ..narrow };
    let refused = keys.bind(By::Key(&tenant), writer.clone(), victim.clone());
    assert!(matches!(refused, Err(IdentityError::Binds)));
    let (own, _) = keys.create(By::Key(&tenant), writer).unwrap();
    let refused = keys.rotate_to(By::Key(&tenant), &own.id, Micros(i64::MAX / 2), victim.clone());
    assert!(matches!(refused, Err(IdentityError::Binds)));
    // A log from before that was asked has such an event: it binds nothing.
    let event = serde_json::json!({
        "action": "api_key.create", "kind": "admin",
        "actor": { "id": tenant.id, "name": "test", "type": "api_key" },
        "details": { "certificate": victim, "expires_at": null, "grant": own.grant, "rate_per_minute": 7 },
        "targets": [{ "id": "0123456789abcdef", "name": "taker", "type": "api_key" }],
    });
    keys.append(&event).unwrap();
    keys.follow().unwrap();
    assert!(keys.get("0123456789abcdef").is_some() && keys.bound_to(&victim).is_none());
    let bound = keys.bind(By::Key(&root), new_key(Role::Writer), victim.clone()).unwrap();
    keys.log().unwrap().close().unwrap();
    drop(keys);
    let again = world.again().unwrap();
    assert_eq!(again.bound_to(&victim).map(|key| key.id.clone()), Some(bound.id.clone()));
}

/// The chain that `first` begins: `count` keys, each rotated out with the one before it, all ended but the last.
fn chain(keys: &Identities, first: &ApiKey, count: usize) -> Arc<ApiKey> {
    let mut last = Arc::new(first.clone());
    for at in 1..=count {
        let expires_at = (at < count).then_some(Micros(1));
        // Ids in no order of theirs.
        let id = format!("{:04x}-{}", (at * 40_503) % 65_536, first.id);
        last = keys.put(ApiKey { id, made_by: Some(last.id.clone()), expires_at, ..first.clone() });
    }
    last
}

#[test]
fn to_end_the_first_of_a_long_chain_looks_at_each_key_a_few_times() {
    const LONG: usize = 1000;
    let (_world, keys) = World::new();
    let (root, _) = keys.create(By::Operator, new_key(Role::Admin)).unwrap();
    let (tenant, _) = keys.create(By::Key(&root), new_key(Role::Admin)).unwrap();
    let (first, _) = keys.create(By::Key(&tenant), new_key(Role::Admin)).unwrap();
    let last = chain(&keys, &first, LONG);
    keys.put(ApiKey { expires_at: Some(Micros(1)), ..(*first).clone() });
    for at in 0..LONG {
        let id = format!("made-{at}");
        let line = Line::of(&id, Some(&last.line));
        keys.put(ApiKey { id, line, made_by: Some(last.id.clone()), ..(*last).clone() });
    }
    let looked_at = |what: &dyn Fn()| {
        let looked = || keys.known.read().unwrap().looked_at.load(std::sync::atomic::Ordering::Relaxed);
        let before = looked();
        what();
        looked() - before
    };
    let size = || keys.log().unwrap().size().unwrap();
    // Whether those that the line made are in force is asked of the line, and not of each of its keys.
    let looked = looked_at(&|| assert_eq!(keys.in_force().len(), 3 + LONG));
    assert!(looked <= 10 * LONG, "{looked}");
    assert_eq!(keys.beside(&first), std::slice::from_ref(&last.id));
    let before = size();
    let looked = looked_at(&|| {
        let (_, beside) = keys.revoke(By::Key(&tenant), &first.id).unwrap();
        assert_eq!(beside, std::slice::from_ref(&last.id));
    });
    assert!(looked <= 10 * LONG, "{looked}");
    assert_eq!((size() - before, keys.in_force().len()), (2, 2), "two have ended, and all that they made");
    let looked = looked_at(&|| assert!(keys.revoke(By::Key(&tenant), &first.id).unwrap().1.is_empty()));
    assert!(looked <= 10 * LONG, "{looked}");
    assert_eq!(size() - before, 2, "nothing is on record twice");
}

#[test]
fn what_a_thief_made_with_a_key_that_was_replaced_is_named_at_its_end() {
    let (_world, keys) = World::new();
    let far = Micros(i64::MAX / 2);
    let (root, _) = keys.create(By::Operator, new_key(Role::Admin)).unwrap();
    let (tenant, _) = keys.create(By::Key(&root), new_key(Role::Admin)).unwrap();
    let (child, _) = keys.create(By::Key(&tenant), new_key(Role::Writer)).unwrap();
    let (heir, token) = keys.rotate(By::Key(&tenant), &child.id, Micros(1)).unwrap();
    let (next, _) = keys.rotate(By::Key(&root), &tenant.id, far).unwrap();
    let (honest, _) = keys.create(By::Key(&next), new_key(Role::Writer)).unwrap();
    assert!(keys.revoke(By::Key(&root), &tenant.id).unwrap().1.is_empty());
    assert!(keys.authenticate(&token).is_some(), "its maker goes on in its successor");
    assert_eq!(keys.made_by_it(&tenant, 9), (vec![heir.id.clone()], 1));
    assert_eq!(keys.made_by_it(&tenant, 0), (Vec::new(), 1));
    assert_eq!(keys.made_by_it(&next, 9), (vec![honest.id.clone()], 1));
    keys.revoke(By::Key(&root), &heir.id).unwrap();
    assert_eq!(keys.made_by_it(&tenant, 9), (Vec::new(), 0));
}

#[test]
fn what_a_key_made_where_its_end_was_not_known_yet_is_stillborn() {
    let (world, keys) = World::new();
    let far = Micros(i64::MAX / 2);
    let (root, _) = keys.create(By::Operator, new_key(Role::Admin)).unwrap();
    let (tenant, _) = keys.create(By::Key(&root), new_key(Role::Admin)).unwrap();
    let (child, _) = keys.create(By::Key(&tenant), new_key(Role::Writer)).unwrap();
    keys.rotate(By::Key(&root), &tenant.id, far).unwrap();
    let (before, good) = keys.create(By::Key(&tenant), new_key(Role::Writer)).unwrap();
    // Another server ends it; this one has not read that yet.
    let event = serde_json::json!({
        "action": "api_key.revoke", "actor": { "id": root.id, "type": "api_key" }, "kind": "admin",
        "targets": [{ "id": tenant.id, "name": "test", "type": "api_key" }],
    });
    keys.append(&event).unwrap();
    let (_, made) = keys.create(By::Key(&tenant), new_key(Role::Writer)).unwrap();
    let (heir, rotated) = keys.rotate(By::Key(&tenant), &child.id, far).unwrap();
    let (_, of_the_heir) = keys.rotate(By::Key(&heir), &heir.id, far).unwrap();
    let check = |keys: &Identities| {
        for token in [&made, &rotated, &of_the_heir] {
            assert!(keys.authenticate(token).is_none());
        }
        assert!(keys.authenticate(&good).is_some(), "what it made before goes on with its line");
        assert_eq!(keys.shown(&keys.get(&heir.id).unwrap())["state"], "revoked");
        assert!(keys.made_by_it(&tenant, 9).0.contains(&before.id));
    };
    keys.follow().unwrap();
    check(&keys);
    keys.log().unwrap().close().unwrap();
    drop(keys);
    check(&world.again().unwrap());
}

#[test]
fn what_a_key_makes_behind_its_end_by_rotation_is_stillborn() {
    let ((_elsewhere, other), (world, keys)) = (World::new(), World::new());
    let copied = |from: &Identities, to: &Identities, seen: usize| {
        let read = from.log().unwrap().read(LeafIndex(0), STEP).unwrap();
        let lines = (0..).zip(read.lines()).map(|(index, text)| parse_line(text, index).unwrap());
        let events: Vec<_> = lines.filter(|line| line.entry.kind == BodyKind::Event).collect();
        let events: Vec<_> = events.iter().skip(seen).map(|line| line.entry.body.to_vec()).collect();
        assert!(to.append_all(&events).iter().all(Result::is_ok));
        to.follow().unwrap();
        events.len() + seen
    };
    let (root, _) = keys.create(By::Operator, new_key(Role::Admin)).unwrap();
    let (tenant, token) = keys.create(By::Key(&root), new_key(Role::Admin)).unwrap();
    let (before, _) = keys.create(By::Key(&tenant), new_key(Role::Writer)).unwrap();
    let seen = copied(&keys, &other, 0);
    // Here it is rotated out at once; the other server has not heard of that.
    let (next, good) = keys.rotate(By::Key(&root), &tenant.id, keys.now()).unwrap();
    let (heir, first) = other.rotate(By::Key(&tenant), &tenant.id, Micros(i64::MAX / 2)).unwrap();
    let (child, second) = other.create(By::Key(&tenant), new_key(Role::Admin)).unwrap();
    copied(&other, &keys, seen);
    let check = |keys: &Identities| {
        let in_force = [&token, &first, &second, &good].map(|token| keys.authenticate(token).is_some());
        assert_eq!(in_force, [false, false, false, true]);
        for id in [&heir.id, &child.id] {
            assert!(keys.get(id).unwrap().revoked_at.is_some(), "{id}");
        }
        assert!([&before, &next].into_iter().all(|key| keys.is_still_good(key)));
    };
    check(&keys);
    keys.log().unwrap().close().unwrap();
    drop(keys);
    check(&world.again().unwrap());
}
