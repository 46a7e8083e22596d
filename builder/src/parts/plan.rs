//! In which order the steps of the parts run. The order depends on nothing but the manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use pack_schemas::manifest::Part;
use pack_schemas::names::Name;

/// A step in the life of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Fetches the sources.
    Pull,
    /// Makes what the part installs.
    Build,
    /// Shares it with the other parts.
    Stage,
    /// Chooses what goes into the package.
    Prime,
}

impl Step {
    /// The step's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Pull => "pull",
            Step::Build => "build",
            Step::Stage => "stage",
            Step::Prime => "prime",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A step of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// The part.
    pub part: Name,
    /// The step.
    pub step: Step,
}

/// Plans all steps up to and with `until`: every part is pulled; then each is built, after the parts that it is to come
/// after have been staged, and no others; then the rest is staged; then every part is primed. Parts that could run in
/// any order run in that of their names.
///
/// `parts` have passed [`pack_schemas::manifest::Manifest::check`].
pub fn plan(parts: &BTreeMap<Name, Part>, until: Step) -> Vec<Action> {
    let order = order(parts);
    let mut plan: Vec<Action> = order.iter().map(|part| action(part, Step::Pull)).collect();
    let mut staged = BTreeSet::new();
    for part in order.iter().filter(|_| until >= Step::Build) {
        let needed = needed(part, parts);
        for earlier in order.iter().filter(|name| needed.contains(**name)) {
            if staged.insert(*earlier) {
                plan.push(action(earlier, Step::Stage));
            }
        }
        plan.push(action(part, Step::Build));
    }
    if until >= Step::Stage {
        plan.extend(
            order.iter().filter(|part| !staged.contains(*part)).map(|part| action(part, Step::Stage)),
        );
    }
    if until >= Step::Prime {
        plan.extend(order.iter().map(|part| action(part, Step::Prime)));
    }
    plan
}

fn action(part: &Name, step: Step) -> Action {
    Action { part: part.clone(), step }
}

/// The parts, each after those that it names, else by name.
fn order(parts: &BTreeMap<Name, Part>) -> Vec<&Name> {
    let mut order: Vec<&Name> = Vec::with_capacity(parts.len());
    while order.len() < parts.len() {
        let is_next = |(name, part): &(&Name, &Part)| {
            !order.contains(name) && part.after.iter().all(|earlier| order.contains(&earlier))
        };
        match parts.iter().find(is_next) {
            Some((name, _)) => order.push(name),
            // Only for parts that wait for one another, which the check of the manifest refuses.
            None => break,
        }
    }
    order
}

/// All parts that have to be staged before `part` is built.
pub(super) fn needed<'a>(part: &Name, parts: &'a BTreeMap<Name, Part>) -> BTreeSet<&'a Name> {
    let mut needed = BTreeSet::new();
    let mut left: Vec<&Name> = parts.get(part).into_iter().flat_map(|part| &part.after).collect();
    while let Some(name) = left.pop() {
        if needed.insert(name) {
            left.extend(parts.get(name).into_iter().flat_map(|part| &part.after));
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use pack_schemas::manifest::Manifest;

    use super::*;

    fn planned(parts: &str, until: Step) -> String {
        let text = format!("name: aa\nversion: '1'\nbase: none\nparts: {{{parts}}}\n");
        let manifest = Manifest::from_yaml(text.as_bytes()).unwrap();
        let plan = plan(&manifest.parts, until);
        let words: Vec<String> =
            plan.iter().map(|action| format!("{} {}", action.step, action.part)).collect();
        words.join(", ")
    }

    #[test]
    fn independent_parts_run_by_name() {
        let parts = "b: {plugin: nil}, a: {plugin: nil}";
        assert_eq!(
            planned(parts, Step::Prime),
            "pull a, pull b, build a, build b, stage a, stage b, prime a, prime b"
        );
        assert_eq!(planned(parts, Step::Pull), "pull a, pull b");
        assert_eq!(planned(parts, Step::Build), "pull a, pull b, build a, build b");
    }

    #[test]
    fn a_part_sees_those_staged_that_it_comes_after_and_no_others() {
        let parts =
            "a: {plugin: nil, after: [c]}, b: {plugin: nil}, c: {plugin: nil, after: [d]}, d: {plugin: nil}";
        assert_eq!(
            planned(parts, Step::Stage),
            "pull b, pull d, pull c, pull a, \
             build b, build d, stage d, build c, stage c, build a, stage b, stage a"
        );
    }

    #[test]
    fn no_parts_need_no_steps() {
        assert_eq!(planned("", Step::Prime), "");
    }
}
