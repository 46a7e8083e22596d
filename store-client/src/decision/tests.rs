//! Every rule of a decision, and what the plan says.

use super::*;
use crate::testing::{envelope, key};
use pack_schemas::state::TrustedKey;
use serde_json::json;

/// What a decision is made on, with everything in order: unknown publisher, nothing installed.
struct Case {
    envelope: Envelope,
    hash: Hash,
    signers: Result<Vec<PublicKey>, PackageError>,
    present: Present,
    wishes: Wishes,
}

impl Case {
    fn new() -> Case {
        Case::of(envelope("hello", "1.0", json!({})))
    }

    fn of(envelope: Envelope) -> Case {
        Case {
            envelope,
            hash: Hash([9; 32]),
            signers: Ok(vec![key(1)]),
            present: Present {
                state: None,
                trusted: TrustedKeys::default(),
                bases: BTreeSet::new(),
                architecture: Architecture::Amd64,
                unowned_data: None,
            },
            wishes: Wishes { now: 1_700_000_000, ..Wishes::default() },
        }
    }

    /// Signed by an own key.
    fn own(mut self) -> Case {
        self.present.trusted.own = BTreeSet::from([key(1)]);
        self
    }

    fn trusting(mut self, seed: u8, name: &str) -> Case {
        let trusted =
            TrustedKey { format: STATE_VERSION, key: key(seed), name: Some(name.to_owned()), added: 0 };
        self.present.trusted.added.insert(key(seed), trusted);
        self
    }

    fn decide(&self) -> Result<Decision, Refusal> {
        let candidate = Candidate {
            envelope: &self.envelope,
            envelope_hash: self.hash,
            size: 5000,
            signers: self.signers.as_deref(),
            vouched: None,
        };
        decide(&candidate, &self.present, &self.wishes)
    }

    #[track_caller]
    fn plan(&self) -> InstallPlan {
        match self.decide() {
            Ok(Decision::Install(plan)) => *plan,
            other => panic!("{other:?}"),
        }
    }

    /// Goes on from the state after the plan, with another version.
    fn next(self, version: &str, hash: u8) -> Case {
        let state = Some(self.plan().after);
        let mut envelope = self.envelope;
        envelope.version = version.parse().unwrap();
        envelope.manifest.version = envelope.version.clone();
        Case { envelope, hash: Hash([hash; 32]), present: Present { state, ..self.present }, ..self }
    }
}

#[test]
fn a_package_of_an_own_key_installs_without_a_question() {
    let plan = Case::new().own().plan();
    assert_eq!((plan.revision, &plan.publisher), (Revision::Local(1), &Publisher::Own(key(1))));
    assert_eq!((plan.is_repair, plan.data_from, plan.notes), (false, None, vec![]));
    assert_eq!(plan.after.current, Some(Revision::Local(1)));
    assert_eq!(plan.after.publisher, Some(key(1)));
    assert_eq!((plan.after.revisions[0].size, plan.after.revisions[0].installed), (5000, 1_700_000_000));
}

#[test]
fn an_unknown_publisher_is_asked_about_and_an_exact_answer_counts() {
    let mut case = Case::new();
    assert_eq!(case.decide(), Ok(Decision::AskTrust { keys: vec![key(1)] }));
    case.wishes.trust = Some(key(2));
    assert!(matches!(case.decide(), Err(Refusal::OtherKey { given, .. }) if given == key(2)));
    case.wishes.trust = Some(key(1));
    assert_eq!(case.plan().publisher, Publisher::NewlyTrusted(key(1)));
    let plan = Case::new().trusting(1, "Alice").plan();
    assert_eq!(plan.publisher, Publisher::Trusted { key: key(1), name: Some("Alice".to_owned()) });
}

#[test]
fn one_trusted_signature_of_several_is_enough_and_binds_the_package() {
    let mut case = Case::new().trusting(2, "Bob");
    case.signers = Ok(vec![key(1), key(2)]);
    assert_eq!(case.plan().after.publisher, Some(key(2)));
    let mut later = case.next("2.0", 10);
    later.signers = Ok(vec![key(1)]);
    assert!(matches!(later.decide(), Err(Refusal::OtherPublisher { .. })));
}

#[test]
fn an_unsigned_package_needs_dangerous_and_a_wrong_signature_is_always_refused() {
    let mut case = Case::new();
    case.signers = Err(PackageError::Unsigned);
    assert!(matches!(case.decide(), Err(Refusal::Unsigned { .. })));
    // Trust cannot stand in for a signature.
    case.wishes.trust = Some(key(1));
    assert!(matches!(case.decide(), Err(Refusal::Unsigned { .. })));
    case.wishes = Wishes { is_dangerous: true, ..Wishes::default() };
    let plan = case.plan();
    assert_eq!((&plan.publisher, &plan.after.publisher), (&Publisher::Unsigned, &None));
    assert_eq!(plan.notes, [Note::Unsigned]);
    case.signers = Err(PackageError::BadSignature { key: key(1) });
    assert!(matches!(case.decide(), Err(Refusal::Signature { .. })));
}

#[test]
fn dangerous_does_not_answer_the_question_of_trust() {
    let mut case = Case::new();
    case.wishes.is_dangerous = true;
    assert_eq!(case.decide(), Ok(Decision::AskTrust { keys: vec![key(1)] }));
    assert_eq!(
        Case { wishes: Wishes { is_dangerous: true, ..Wishes::default() }, ..Case::new().own() }.plan().notes,
        [Note::DangerousNotNeeded]
    );
}

/// A package of the same name and another publisher never takes the place of an installed one, nor its data.
#[test]
fn cve_2016_1580_only_the_same_publisher_replaces_a_package_or_gets_its_kept_data() {
    let mut case = Case::new().own().trusting(2, "Eve").next("2.0", 10);
    case.signers = Ok(vec![key(2)]);
    let refused = |case: &Case, removed: bool| match case.decide() {
        Err(Refusal::OtherPublisher { publisher, is_removed, .. }) => {
            assert_eq!((publisher, is_removed), (key(1), removed));
        }
        other => panic!("{other:?}"),
    };
    refused(&case, false);
    case.wishes.trust = Some(key(2));
    refused(&case, false);
    case.signers = Err(PackageError::Unsigned);
    case.wishes = Wishes { is_dangerous: true, ..Wishes::default() };
    refused(&case, false);
    let state = case.present.state.as_mut().unwrap();
    (state.current, state.kept_data) = (None, Some(Revision::Local(1)));
    state.revisions.clear();
    refused(&case, true);
}

#[test]
fn a_publisher_that_is_no_longer_trusted_is_asked_about_again() {
    let mut case = Case::new().own().next("2.0", 10);
    case.present.trusted = TrustedKeys::default();
    assert_eq!(case.decide(), Ok(Decision::AskTrust { keys: vec![key(1)] }));
}

#[test]
fn a_signed_package_binds_one_that_was_unsigned() {
    let mut case = Case::new().own();
    case.signers = Err(PackageError::Unsigned);
    case.wishes.is_dangerous = true;
    let mut case = case.next("2.0", 10);
    case.wishes.is_dangerous = false;
    case.signers = Ok(vec![key(1)]);
    let plan = case.plan();
    assert_eq!((plan.after.publisher, plan.notes), (Some(key(1)), vec![Note::WasUnsigned]));
}

#[test]
fn what_cannot_run_here_is_refused() {
    let mut case = Case::new().own();
    case.envelope.architecture = Architecture::Arm64;
    assert!(matches!(case.decide(), Err(Refusal::Architecture { .. })));
    let mut case = Case::of(envelope("hello", "1.0", json!({ "base": "debian" }))).own();
    assert!(matches!(case.decide(), Err(Refusal::MissingBase { base, .. }) if base.as_str() == "debian"));
    case.present.bases.insert("debian".parse().unwrap());
    assert_eq!(case.plan().after.revisions[0].base, Some("debian".parse().unwrap()));
    let mut case = Case::new().own().next("2", 10);
    case.envelope.package_type = PackageType::Base;
    assert!(matches!(case.decide(), Err(Refusal::OtherType { .. })));
}

#[test]
fn data_that_nobody_owns_is_given_to_nobody() {
    let mut case = Case::new().own();
    case.present.unowned_data = Some("/data/hello".into());
    assert!(matches!(case.decide(), Err(Refusal::UnownedData { .. })));
}

/// GHSA-q4gr: an old version is accepted only since a person chose the file, and it is told.
#[test]
fn an_older_file_is_accepted_and_told() {
    let plan = Case::new().own().next("0.9", 10).plan();
    assert_eq!(plan.notes, [Note::OlderVersion { installed: "1.0".parse().unwrap() }]);
    assert_eq!(plan.revision, Revision::Local(2));
    assert_eq!(Case::new().own().next("1.0", 10).plan().notes, []);
}

#[test]
fn two_earlier_revisions_stay_and_no_number_comes_twice() {
    let mut case = Case::new().own();
    for (hash, expected) in [(10, vec![]), (11, vec![]), (12, vec![Revision::Local(1)])] {
        case = case.next("2", hash);
        assert_eq!(case.plan().forgotten, expected, "{hash}");
    }
    let plan = case.plan();
    assert_eq!(plan.data_from, Some(Revision::Local(3)));
    // Also not the number of one that is gone.
    let mut state = plan.after;
    state.revisions.retain(|entry| entry.revision == Revision::Local(1));
    state.current = Some(Revision::Local(1));
    case.present.state = Some(state);
    assert_eq!(case.plan().revision, Revision::Local(5));
}

#[test]
fn numbers_end_without_going_round() {
    let mut case = Case::new().own().next("2", 10);
    case.present.state.as_mut().unwrap().last_local = u32::MAX;
    assert!(matches!(case.decide(), Err(Refusal::NoRevisionLeft { .. })));
}

#[test]
fn the_same_package_again_is_a_repair() {
    let plan = Case::new().own().next("1.0", 9).plan();
    assert!(plan.is_repair);
    assert_eq!((plan.revision, plan.data_from, plan.after.revisions.len()), (Revision::Local(1), None, 1));
    assert_eq!(plan.after.last_local, 1);
}

#[test]
fn kept_data_comes_back() {
    let mut case = Case::new().own().next("2.0", 10);
    let state = case.present.state.as_mut().unwrap();
    (state.current, state.kept_data) = (None, Some(Revision::Local(1)));
    state.revisions.clear();
    let plan = case.plan();
    assert_eq!((plan.revision, plan.data_from), (Revision::Local(2), Some(Revision::Local(1))));
    assert_eq!(plan.after.kept_data, None);
}

fn connection(interface: &str, manual: bool) -> Connection {
    Connection {
        interface: interface.parse().unwrap(),
        side: Default::default(),
        attributes: BTreeMap::new(),
        manual,
        compiled: Default::default(),
    }
}

fn with_plugs(version: &str, plugs: &[&str]) -> Envelope {
    envelope("hello", version, json!({ "apps": { "hello": { "command": "bin/hello", "plugs": plugs } } }))
}

#[test]
fn plugs_connect_as_wished_and_only_those_of_the_package() {
    let mut case = Case::of(with_plugs("1", &["network", "home"])).own();
    let wish = |plug: &str, interface: &str| (plug.parse().unwrap(), connection(interface, false));
    // `x11` is not the package's; `home` is wished for as another interface.
    case.wishes.connect =
        BTreeMap::from([wish("network", "network"), wish("x11", "x11"), wish("home", "network")]);
    let plan = case.plan();
    assert_eq!(plan.after.connections, BTreeMap::from([wish("network", "network")]));
    assert_eq!(plan.newly_connected, plan.after.connections);
}

/// An update got permissions that the difference shown to the user did not name; here what is new is what is
/// connected and was not.
#[test]
fn permission_growth_on_update_is_exactly_what_is_told() {
    let wish = |plug: &str| (plug.parse().unwrap(), connection(plug, false));
    let mut case = Case::of(with_plugs("1", &["network", "home"])).own();
    case.wishes.connect = BTreeMap::from([wish("network")]);
    let mut case = case.next("2", 10);
    case.envelope = with_plugs("2", &["network", "home", "x11"]);
    case.wishes.connect = BTreeMap::from([wish("network"), wish("x11")]);
    let plan = case.plan();
    assert_eq!(plan.newly_connected, BTreeMap::from([wish("x11")]));
    assert_eq!(plan.after.connections.len(), 2);
    // A plug that is gone is not connected any more.
    case.envelope = with_plugs("2", &["x11"]);
    assert_eq!(case.plan().after.connections, BTreeMap::from([wish("x11")]));
}

#[test]
fn a_plug_that_changes_its_interface_is_a_new_plug() {
    let mut case = Case::of(with_plugs("1", &["network"])).own();
    case.wishes.connect = BTreeMap::from([("network".parse().unwrap(), connection("network", false))]);
    let mut case = case.next("2", 10);
    case.envelope.manifest = serde_json::from_value(json!({
        "name": "hello", "version": "2", "base": "host", "plugs": { "network": { "interface": "home" } },
        "apps": { "hello": { "command": "bin/hello", "plugs": ["network"] } },
    }))
    .unwrap();
    assert_eq!(case.plan().after.connections, BTreeMap::new());
}

#[test]
fn a_plug_that_a_person_declined_or_disconnected_stays_so() {
    let mut case = Case::of(with_plugs("1", &["home"])).own();
    case.wishes.decline = BTreeSet::from(["home".parse().unwrap()]);
    let mut case = case.next("2", 10);
    case.wishes.decline.clear();
    case.wishes.connect = BTreeMap::from([("home".parse().unwrap(), connection("home", true))]);
    assert_eq!(case.plan().after.connections, BTreeMap::new());
}

#[test]
fn data_of_another_epoch_is_taken_over_by_who_can_read_it_alone() {
    let installed = |epoch: serde_json::Value| {
        let case = Case::of(envelope("hello", "1.0", json!({"epoch": epoch}))).own();
        case.plan().after
    };
    for (data, epoch, can) in [
        (json!(0), json!(0), true),
        (json!(0), json!("1*"), true),
        (json!(0), json!(1), false),
        (json!("1*"), json!(0), false),
        (json!(1), json!({"read": [1, 2], "write": [2]}), true),
    ] {
        let mut case = Case::of(envelope("hello", "2.0", json!({"epoch": epoch}))).own();
        case.present.state = Some(installed(data.clone()));
        case.hash = Hash([8; 32]);
        let decided = case.decide();
        assert_eq!(decided.is_ok(), can, "{data} {epoch}: {decided:?}");
        match decided {
            Ok(_) => assert_eq!(case.plan().after.epoch, case.envelope.manifest.epoch),
            Err(refusal) => assert!(matches!(refusal, Refusal::Epoch { .. }), "{refusal:?}"),
        }
        // Data that was kept is no other.
        if let Some(state) = &mut case.present.state {
            state.kept_data = state.current.take();
            state.revisions.clear();
        }
        assert_eq!(case.decide().is_ok(), can, "{data} {epoch}");
    }
}

#[test]
fn devmode_needs_a_yes_each_time() {
    let mut case = Case::of(envelope("hello", "1.0", json!({"confinement": "devmode"}))).own();
    assert!(matches!(case.decide(), Err(Refusal::Devmode { .. })));
    case.wishes.is_devmode = true;
    assert_eq!(case.plan().notes, [Note::Devmode]);
    case.present.state = Some(case.plan().after);
    case.wishes.is_devmode = false;
    assert!(matches!(case.decide(), Err(Refusal::Devmode { .. })));
}

/// What a store says of the package of a case.
fn store_revision(case: &Case) -> StoreRevision {
    let envelope = &case.envelope;
    let value = json!({
        "version": envelope.version, "about": {}, "architecture": envelope.architecture, "type": envelope.package_type,
        "file": { "sha256": "00".repeat(32), "size": 5000 }, "envelope": case.hash, "published": 1,
        "sections": { "image": 1, "index": 1, "envelope": 1, "signatures": 1 },
    });
    serde_json::from_value(value).unwrap()
}

fn decide_vouched(
    case: &Case,
    number: u32,
    publishers: &[PublicKey],
    change: fn(&mut StoreRevision),
) -> Result<Decision, Refusal> {
    let (name, remote, channel) =
        ("hello".parse().unwrap(), "example".parse().unwrap(), "edge".parse().unwrap());
    let mut revision = store_revision(case);
    change(&mut revision);
    let candidate = Candidate {
        envelope: &case.envelope,
        envelope_hash: case.hash,
        size: 5000,
        signers: case.signers.as_deref(),
        vouched: Some(Vouched {
            remote: &remote,
            channel: &channel,
            name: &name,
            number: NonZeroU32::new(number).unwrap(),
            revision: &revision,
            publishers: &publishers.iter().copied().collect(),
        }),
    };
    decide(&candidate, &case.present, &case.wishes)
}

fn vouched_plan(case: &Case, number: u32) -> InstallPlan {
    match decide_vouched(case, number, &[key(1)], |_| ()) {
        Ok(Decision::Install(plan)) => *plan,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_store_vouches_for_a_publisher_and_gives_the_number() {
    let case = Case::new();
    let plan = vouched_plan(&case, 7);
    assert_eq!(plan.publisher, Publisher::Vouched { key: key(1), remote: "example".parse().unwrap() });
    assert_eq!(plan.revision, Revision::Store(7));
    let source = plan.after.source.clone().unwrap();
    assert_eq!((source.remote.as_str(), source.channel.to_string().as_str()), ("example", "latest/edge"));
    // The key stays the package's: no store brings another.
    let mut next = Case { present: Present { state: Some(plan.after), ..case.present }, ..Case::new() };
    next.hash = Hash([8; 32]);
    next.signers = Ok(vec![key(2)]);
    let refused = decide_vouched(&next, 8, &[key(1), key(2)], |_| ());
    assert!(matches!(refused, Err(Refusal::OtherPublisher { .. })), "{refused:?}");
}

#[test]
fn a_package_that_is_not_the_one_that_the_store_names_is_refused() {
    let case = Case::new();
    type Alter = fn(&mut StoreRevision);
    let refusals: [(&str, Alter); 5] = [
        ("the version", |revision| revision.version = "9".parse().unwrap()),
        ("the architecture", |revision| revision.architecture = Architecture::Arm64),
        ("the type", |revision| revision.package_type = PackageType::Base),
        ("the size", |revision| revision.file.size = 5001),
        ("the envelope", |revision| revision.envelope = Hash([1; 32])),
    ];
    for (expected, change) in refusals {
        match decide_vouched(&case, 1, &[key(1)], change) {
            Err(Refusal::NotTheEntry { what, .. }) => assert_eq!(what, expected),
            other => panic!("{other:?}"),
        }
    }
    let other_key = decide_vouched(&case, 1, &[key(2)], |_| ());
    assert!(matches!(other_key, Err(Refusal::NotTheEntry { what: "the publisher", .. })));
    let unsigned = Case { signers: Err(PackageError::Unsigned), ..Case::new() };
    assert!(decide_vouched(&unsigned, 1, &[key(1)], |_| ()).is_err());
    let other_name = Case::of(envelope("other", "1.0", json!({})));
    let refused = decide_vouched(&other_name, 1, &[key(1)], |_| ());
    assert!(matches!(refused, Err(Refusal::NotTheEntry { what: "the name", .. })));
}

#[test]
fn a_number_that_another_file_has_is_not_taken() {
    let case = Case::new();
    let state = Some(vouched_plan(&case, 7).after);
    let other = Case { hash: Hash([8; 32]), present: Present { state, ..case.present }, ..Case::new() };
    let plan = vouched_plan(&other, 7);
    assert_eq!(plan.revision, Revision::Local(1));
    assert_eq!(plan.after.revisions.len(), 2);
}

#[test]
fn a_revision_that_comes_back_is_the_newest() {
    let case = Case::new();
    let first = vouched_plan(&case, 1).after;
    let second =
        Case { hash: Hash([8; 32]), present: Present { state: Some(first), ..case.present }, ..Case::new() };
    let state = Some(vouched_plan(&second, 2).after);
    let again = Case { present: Present { state, ..second.present }, ..Case::new() };
    let after = vouched_plan(&again, 1).after;
    let numbers: Vec<Revision> = after.revisions.iter().map(|entry| entry.revision).collect();
    assert_eq!(numbers, [Revision::Store(2), Revision::Store(1)]);
    // Another file of the person's is no store's.
    let own =
        Case { present: Present { state: Some(after), ..again.present }, hash: Hash([5; 32]), ..Case::new() };
    assert_eq!(own.own().plan().after.source, None);
}
