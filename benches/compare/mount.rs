//! The mount alone: walking, reading, starting Python from it, opening an image of a million files, memory, and what
//! checking costs.
//!
//! - **warm**: all rows are mounted, everything was read once, and then each figure is taken from each row in turn.
//! - **cold**: for each sample all caches are dropped and the mount is made afresh. Who is not root can only drop the
//!   cache of the image's own file, and has nothing to drop the plain folder's with.

use std::path::Path;
use std::time::Instant;

use crate::place::{Place, is_root};
use crate::rows::{FOLDER, KERNEL, PACK, Row, Session, drop_caches, example, python};
use crate::table::{Figure, Target, Unit, Verdict};
use crate::tree::Tree;

/// Reads of a sample of random reads: fewer than the large file has blocks, so that most meet a fresh one.
const RANDOM_READS: usize = 400;

/// What is measured, and with what.
pub struct Bench<'a> {
    /// Who measures.
    pub place: &'a Place,
    /// What is mounted.
    pub tree: &'a Tree,
    /// How.
    pub rows: Vec<Row>,
}

/// What is asked of a mount.
struct Question {
    title: &'static str,
    unit: Unit,
    target: Option<Target>,
    order: String,
}

/// Nanoseconds in the unit of a figure.
fn scaled(nanoseconds: f64, unit: Unit) -> f64 {
    match unit {
        Unit::Milliseconds => nanoseconds / 1e6,
        Unit::Microseconds => nanoseconds / 1e3,
        Unit::Mebibytes => nanoseconds,
    }
}

/// Walks the tree, warm and cold.
pub fn walk(bench: &Bench<'_>, rounds: usize) -> Vec<Verdict> {
    let question = |title, order: &str, target| Question {
        title,
        unit: Unit::Milliseconds,
        target,
        order: order.to_owned(),
    };
    let names = "walk, names alone, warm (find)";
    let warm = [
        question("walk, warm (find -printf %s)", "walk", Some(Target::Times(1.3, KERNEL))),
        question(names, "names", None),
    ];
    let cold = [
        question("walk, cold (find -printf %s)", "walk", None),
        question("walk, names alone, cold (find)", "names", None),
    ];
    [ask_warm(bench, rounds * 3, &warm), ask_cold(bench, rounds, &cold)].concat_all()
}

/// Reads every file, warm, cold, and cold with two readers.
pub fn read(bench: &Bench<'_>, rounds: usize) -> Vec<Verdict> {
    let question = |title, order: &str, most| Question {
        title,
        unit: Unit::Milliseconds,
        target: Some(Target::Times(most, KERNEL)),
        order: order.to_owned(),
    };
    let warm = [question("read every file, warm", "read\t1", 1.2)];
    let cold = [
        question("read every file, cold", "read\t1", 1.0),
        question("read every file, cold, two readers", "read\t2", 0.75),
    ];
    [ask_warm(bench, rounds, &warm), ask_cold(bench, rounds, &cold)].concat_all()
}

/// Reads pages of the largest file in no order, cold.
pub fn random(bench: &Bench<'_>, rounds: usize) -> Vec<Verdict> {
    let question = Question {
        title: "random 4 KiB reads in a large file, cold",
        unit: Unit::Microseconds,
        target: Some(Target::Times(1.0, KERNEL)),
        order: format!("random\t{}\t{RANDOM_READS}\t7", bench.tree.largest()),
    };
    ask_cold(bench, rounds, &[question])
}

/// Starts Python from the mount.
pub fn start_python(bench: &Bench<'_>, rounds: usize) -> Vec<Verdict> {
    let question = |title, target| Question {
        title,
        unit: Unit::Milliseconds,
        target: Some(target),
        order: "python".to_owned(),
    };
    let warm = [question("start python3, warm", Target::Times(1.1, FOLDER))];
    let cold = [question("start python3, cold", Target::Times(1.1, KERNEL))];
    [ask_warm(bench, rounds * 3, &warm), ask_cold(bench, rounds, &cold)].concat_all()
}

/// The order that a question stands for in a session, whose mount has a place of its own.
fn order(session: &Session<'_>, tree: &Tree, question: &Question) -> String {
    if question.order != "python" {
        return question.order.clone();
    }
    let mut words = vec!["run".to_owned()];
    words.extend(python(&session.at, Path::new(&tree.loader())));
    words.extend(["-S", "-c", "import json,http.client,asyncio"].map(str::to_owned));
    words.join("\t")
}

fn ready<'a>(bench: &Bench<'a>, row: Row) -> Session<'a> {
    let mut session = Session::open(bench.place, bench.tree, row);
    session.answer();
    session.ask(&format!("list\t{}", bench.tree.list().display()));
    session
}

fn ask_warm(bench: &Bench<'_>, rounds: usize, questions: &[Question]) -> Vec<Verdict> {
    let mut sessions: Vec<_> = bench.rows.iter().copied().map(|row| (row, ready(bench, row))).collect();
    let mut read = None;
    for (row, session) in &mut sessions {
        session.ask("read\t1");
        let bytes = session.ask("bytes");
        assert_eq!(*read.get_or_insert(bytes), bytes, "{} gives another number of bytes", row.title());
        for question in questions {
            let order = order(session, bench.tree, question);
            session.ask(&order);
        }
    }
    let mut figures: Vec<_> = questions.iter().map(figure).collect();
    for _ in 0..rounds {
        for (question, figure) in questions.iter().zip(&mut figures) {
            for (row, session) in &mut sessions {
                let order = order(session, bench.tree, question);
                figure.add(row.title(), scaled(session.ask(&order), question.unit));
            }
        }
    }
    // The last first: what runs in a mount namespace of its own has copies there of the mounts before it.
    while sessions.pop().is_some() {}
    figures.iter().flat_map(|figure| figure.print(reference())).collect()
}

fn ask_cold(bench: &Bench<'_>, rounds: usize, questions: &[Question]) -> Vec<Verdict> {
    let mut figures: Vec<_> = questions.iter().map(figure).collect();
    for _ in 0..rounds {
        for (question, figure) in questions.iter().zip(&mut figures) {
            for &row in &bench.rows {
                drop_caches(&row.image(bench.tree));
                let mut session = ready(bench, row);
                let order = order(&session, bench.tree, question);
                figure.add(row.title(), scaled(session.ask(&order), question.unit));
            }
        }
    }
    figures.iter().flat_map(|figure| figure.print(reference())).collect()
}

fn figure(question: &Question) -> Figure {
    let figure = Figure::new(question.title, question.unit);
    match question.target {
        Some(target) => figure.target(PACK, target),
        None => figure,
    }
}

/// What ratios are taken to.
fn reference() -> &'static str {
    if is_root() { KERNEL } else { FOLDER }
}

/// Opens an image of a million files: from the start of the first process to the answer to the first readdir, and what
/// memory that took. An image of few files beside it shows what of that is the start of processes.
pub fn million(bench: &Bench<'_>, rounds: usize) -> Vec<Verdict> {
    let (image, package) = bench.tree.million(bench.place);
    let mut time = Figure::new("open an image of a million files, to the first readdir", Unit::Milliseconds)
        .target(PACK, Target::AtMost(5.0));
    let mut memory = Figure::new("memory of the server after the first readdir", Unit::Mebibytes)
        .target(PACK, Target::AtMost(16.0));
    let small = "pack, the tree";
    for _ in 0..rounds * 3 {
        for row in bench.rows.iter().copied() {
            let file = match row {
                Row::Kernel | Row::SquashfuseLl => &image,
                Row::Pack => &package,
                _ => continue,
            };
            let mut measure = |title: &str, file: &Path| {
                let begin = Instant::now();
                let mut session = Session::open_image(bench.place, row, file);
                session.answer();
                time.add(title, begin.elapsed().as_secs_f64() * 1e3);
                if let Some((resident, _)) = session.server_memory() {
                    memory.add(title, resident);
                }
            };
            measure(row.title(), file);
            if row == Row::Pack {
                measure(small, &bench.tree.package());
            }
        }
    }
    [time.print(reference()), memory.print(small)].concat_all()
}

/// What memory the server takes once everything was read, by two readers.
pub fn memory(bench: &Bench<'_>) -> Vec<Verdict> {
    if !is_root() {
        eprintln!("not root: the memory of the servers cannot be looked at");
        return Vec::new();
    }
    let mut resident =
        Figure::new("memory of the server after reading everything, resident", Unit::Mebibytes)
            .target(PACK, Target::AtMost(64.0));
    let mut proportional =
        Figure::new("memory of the server after reading everything, proportional", Unit::Mebibytes);
    for row in bench.rows.iter().copied() {
        let mut session = ready(bench, row);
        session.ask("walk");
        session.ask("read\t2");
        if let Some((rss, pss)) = session.server_memory() {
            resident.add(row.title(), rss);
            proportional.add(row.title(), pss);
        }
    }
    [resident.print("squashfuse_ll"), proportional.print("squashfuse_ll")].concat_all()
}

/// What checking costs: the same server on the same file, with and without it.
pub fn checking(bench: &Bench<'_>, rounds: usize) -> Vec<Verdict> {
    let bare = example(bench.place, "mount-bare");
    let (with, without) = ("checked", "not checked");
    let mut figure = Figure::new("read every file, cold: what checking costs", Unit::Milliseconds)
        .target(with, Target::Times(1.08, without));
    for _ in 0..rounds {
        for (title, option) in [(with, "--checked"), (without, "--unchecked")] {
            drop_caches(&bench.tree.package());
            let mut session = Session::open_within(bench.place, &bare, option, &bench.tree.package());
            session.answer();
            session.ask(&format!("list\t{}", bench.tree.list().display()));
            figure.add(title, session.ask("read\t1") / 1e6);
        }
    }
    figure.print(without)
}

/// One list of several.
trait ConcatAll {
    fn concat_all(self) -> Vec<Verdict>;
}

impl<const N: usize> ConcatAll for [Vec<Verdict>; N] {
    fn concat_all(self) -> Vec<Verdict> {
        self.into_iter().flatten().collect()
    }
}
