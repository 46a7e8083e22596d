//! Text from outside, made safe to show to a person.

use std::fmt::Write;

/// Returns `text` with everything that could steer a terminal or reorder a line made visible: control characters
/// (C0, DEL, C1), bidirectional controls, invisible separators and line ends become `\u{…}`.
///
/// Unicode Standard Annex 9, table 1 lists the bidirectional controls.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(character));
        } else {
            out.push(character);
        }
    }
    out
}

fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Returns the candidate nearest to `word`, if one is near enough to be what was meant: at most a third of its
/// characters differ (Damerau-Levenshtein, adjacent swaps count once).
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.chars().count().max(3) / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Words longer than this are nobody's misspelling of ours.
const LONGEST_WORD: usize = 64;

fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    if left.len() > LONGEST_WORD || right.len() > LONGEST_WORD {
        return usize::MAX;
    }
    let width = right.len() + 1;
    let mut rows = vec![0; (left.len() + 1) * width];
    for i in 0..=left.len() {
        for j in 0..=right.len() {
            let cost = if i == 0 || j == 0 {
                i + j
            } else {
                let same = usize::from(left[i - 1] != right[j - 1]);
                let mut best = (rows[(i - 1) * width + j] + 1)
                    .min(rows[i * width + j - 1] + 1)
                    .min(rows[(i - 1) * width + j - 1] + same);
                if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                    best = best.min(rows[(i - 2) * width + j - 2] + 1);
                }
                best
            };
            rows[i * width + j] = cost;
        }
    }
    rows[rows.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_become_visible() {
        assert_eq!(visible("a\x1b[31m\u{202e}b\r\n\u{9b}é"), "a\\u{1b}[31m\\u{202e}b\\u{d}\\u{a}\\u{9b}é");
    }

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let keys = ["name", "version", "plugs", "stage-packages"];
        assert_eq!(nearest("verison", keys), Some("version"));
        assert_eq!(nearest("stage_packages", keys), Some("stage-packages"));
        assert_eq!(nearest("plug", keys), Some("plugs"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest(&"x".repeat(100_000), keys), None);
    }
}
