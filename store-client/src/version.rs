//! Which of two versions is the older one, as Debian orders them (deb-version(7)).

use std::cmp::Ordering;

use pack_schemas::names::Version;

/// Compares two versions: the epoch before the first colon, then what follows up to the last dash, then what follows
/// that. Each is compared in alternating runs of other characters and digits. A run of digits counts as a number; `~`
/// comes before everything, even the end; letters come before other characters.
pub fn compare(left: &Version, right: &Version) -> Ordering {
    let ((left_epoch, left), (right_epoch, right)) =
        (split_epoch(left.as_str()), split_epoch(right.as_str()));
    let (left, right) = (split_revision(left), split_revision(right));
    compare_runs(left_epoch, right_epoch)
        .then_with(|| compare_runs(left.0, right.0))
        .then_with(|| compare_runs(left.1, right.1))
}

fn split_revision(version: &str) -> (&str, &str) {
    version.rsplit_once('-').unwrap_or((version, "0"))
}

fn split_epoch(version: &str) -> (&str, &str) {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    version.split_once(':').filter(|(epoch, _)| is_number(epoch)).unwrap_or(("0", version))
}

fn compare_runs(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    while !left.is_empty() || !right.is_empty() {
        let (left_word, left_number, right_word, right_number);
        (left_word, left_number, left) = take_run(left);
        (right_word, right_number, right) = take_run(right);
        let order =
            compare_words(left_word, right_word).then_with(|| compare_numbers(left_number, right_number));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Splits off a run of other characters and the run of digits behind it; both may be empty.
fn take_run(text: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let (word, rest) = text.split_at(text.iter().position(u8::is_ascii_digit).unwrap_or(text.len()));
    let digits = rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
    let (number, rest) = rest.split_at(digits);
    (word, number, rest)
}

fn compare_words(left: &[u8], right: &[u8]) -> Ordering {
    let weight = |text: &[u8], at: usize| match text.get(at) {
        Some(b'~') => -1,
        None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    };
    let longest = left.len().max(right.len());
    (0..longest)
        .map(|at| weight(left, at).cmp(&weight(right, at)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Numbers of any length: without leading zeros the longer one is the greater one.
fn compare_numbers(left: &[u8], right: &[u8]) -> Ordering {
    let significant = |digits: &[u8]| {
        let zeros = digits.iter().take_while(|b| **b == b'0').count();
        digits[zeros..].to_vec()
    };
    let (left, right) = (significant(left), significant(right));
    left.len().cmp(&right.len()).then_with(|| left.cmp(&right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_dpkg_orders_them() {
        let ascending =
            ["1.0~rc1", "1.0", "1.0-1", "1.0a", "1.0+b", "1.2", "1.10", "1.10.1", "2", "10", "1:0.1", "2:0"];
        for (at, left) in ascending.iter().enumerate() {
            for (other, right) in ascending.iter().enumerate() {
                let found = compare(&left.parse().unwrap(), &right.parse().unwrap());
                assert_eq!(found, at.cmp(&other), "{left} {right}");
            }
        }
        assert_eq!(compare(&"1.00".parse().unwrap(), &"1.0".parse().unwrap()), Ordering::Equal);
        assert_eq!(compare(&"0:1".parse().unwrap(), &"1".parse().unwrap()), Ordering::Equal);
    }

    #[test]
    fn dpkg_agrees() {
        let versions = [
            "1", "1.0", "1.0-1", "0.9", "1.0~a", "1.0~~a", "1a", "1ab", "1+1", "1:0", "009", "9", "1-1.1",
            "a", "a0",
        ];
        for left in versions {
            for right in versions {
                let status = std::process::Command::new("dpkg")
                    .args(["--compare-versions", left, "lt", right])
                    .stderr(std::process::Stdio::null())
                    .status()
                    .expect("dpkg is there on every Debian");
                let ours = compare(&left.parse().unwrap(), &right.parse().unwrap()).is_lt();
                assert_eq!(ours, status.success(), "{left} < {right}");
            }
        }
    }
}
