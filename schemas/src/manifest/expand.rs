//! References to variables in the value of a variable.

/// Replaces `$NAME` and `${NAME}` by what `lookup` gives for the name; a `$` before anything else stays as it is.
///
/// A variable that `lookup` does not know is empty. Where that would leave an empty element in a list with colons, as
/// in `$PACK/lib:$LD_LIBRARY_PATH`, the element is left out: most programs take an empty element of a search path for
/// the working directory (CVE-2020-27348).
pub fn expand<'a>(value: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let (name, after) = reference(&rest[at..]);
        rest = after;
        match name.map(&lookup) {
            None => out.push('$'),
            Some(Some(text)) if !text.is_empty() => out.push_str(text),
            Some(_) => {
                // The element is empty if it begins and ends here: drop the colon on one side of it.
                if out.is_empty() || out.ends_with(':') {
                    if let Some(after) = rest.strip_prefix(':') {
                        rest = after;
                    } else if rest.is_empty() {
                        out.pop();
                    }
                }
            }
        }
    }
    out.push_str(rest);
    out
}

/// The name that `text`, which begins with `$`, refers to, and what comes after it.
fn reference(text: &str) -> (Option<&str>, &str) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_first = |name: &str| name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let after = &text[1..];
    if let Some((name, rest)) = after.strip_prefix('{').and_then(|braced| braced.split_once('}'))
        && is_first(name)
        && name.chars().all(is_name)
    {
        return (Some(name), rest);
    }
    let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
    if is_first(&after[..end]) { (Some(&after[..end]), &after[end..]) } else { (None, after) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_and_nothing_else() {
        let lookup = |name: &str| match name {
            "PACK" => Some("/app"),
            "A_1" => Some("$PACK"),
            "EMPTY" => Some(""),
            _ => None,
        };
        for (value, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("$PACK/usr/share:${PACK}/share", "/app/usr/share:/app/share"),
            ("x${PACK}y$PACK.z", "x/appy/app.z"),
            ("$A_1", "$PACK"),
            ("$", "$"),
            ("$$PACK", "$/app"),
            ("$1 $- ${} ${1} ${PACK $(id) `id`", "$1 $- ${} ${1} ${PACK $(id) `id`"),
            ("a$NOT-b", "a-b"),
            ("é$PACKé", "é/appé"),
        ] {
            assert_eq!(expand(value, lookup), expected, "{value}");
        }
    }

    #[test]
    fn cve_2020_27348_an_unset_variable_leaves_no_empty_element() {
        for (value, expected) in [
            ("$NOT", ""),
            ("/a:$NOT", "/a"),
            ("$NOT:/a", "/a"),
            ("/a:$NOT:/b", "/a:/b"),
            ("$NOT:$NOT", ""),
            ("/a:$NOT:$NOT:/b:$NOT", "/a:/b"),
            ("/a:${NOT}x:/b", "/a:x:/b"),
        ] {
            assert_eq!(expand(value, |_| None), expected, "{value}");
        }
    }
}
