//! Names of variables: snap's and snapcraft's, and what they are called here.

/// snap's names and ours. An app's data is always the user's: there is none of the system's.
const NAMES: &[(&str, &str)] = &[
    ("SNAP", "PACK"),
    ("SNAP_ARCH", "PACK_ARCH"),
    ("SNAP_COMMON", "PACK_USER_COMMON"),
    ("SNAP_DATA", "PACK_USER_DATA"),
    ("SNAP_INSTANCE_NAME", "PACK_NAME"),
    ("SNAP_NAME", "PACK_NAME"),
    ("SNAP_REAL_HOME", "PACK_REAL_HOME"),
    ("SNAP_REVISION", "PACK_REVISION"),
    ("SNAP_USER_COMMON", "PACK_USER_COMMON"),
    ("SNAP_USER_DATA", "PACK_USER_DATA"),
    ("SNAP_VERSION", "PACK_VERSION"),
    ("SNAPCRAFT_PARALLEL_BUILD_COUNT", "PACK_PARALLEL_BUILD_COUNT"),
    ("SNAPCRAFT_PART_BUILD", "PACK_PART_BUILD"),
    ("SNAPCRAFT_PART_INSTALL", "PACK_PART_INSTALL"),
    ("SNAPCRAFT_PART_SRC", "PACK_PART_SRC"),
    ("SNAPCRAFT_PRIME", "PACK_PRIME"),
    ("SNAPCRAFT_PROJECT_DIR", "PACK_PROJECT_DIR"),
    ("SNAPCRAFT_STAGE", "PACK_STAGE"),
    ("SNAPCRAFT_TARGET_ARCH", "PACK_ARCH"),
];

/// Replaces `$NAME` and `${NAME…` by what the variable is called here, and returns the variables of snap's that have no counterpart.
pub(super) fn rename(text: &str) -> (String, Vec<String>) {
    let (mut out, mut unknown) = (String::with_capacity(text.len()), Vec::new());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let start = at + 1 + usize::from(rest[at + 1..].starts_with('{'));
        out.push_str(&rest[..start]);
        let end = rest[start..]
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .map_or(rest.len(), |end| start + end);
        let name = &rest[start..end];
        match NAMES.iter().find(|(theirs, _)| *theirs == name) {
            Some((_, ours)) => out.push_str(ours),
            None => {
                if name.starts_with("SNAP_") || name.starts_with("SNAPCRAFT_") {
                    unknown.push(name.to_owned());
                }
                out.push_str(name);
            }
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    (out, unknown)
}

/// The words of a command, as a shell would part them, without expanding anything.
pub(super) fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = command.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(characters.next()),
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_renamed_whole() {
        for (text, expected) in [
            ("$SNAP/bin:${SNAP}/lib", "$PACK/bin:${PACK}/lib"),
            ("$SNAPPY $SNAP_X", "$SNAPPY $SNAP_X"),
            ("${SNAP_DATA:-x} $SNAP_USER_DATA", "${PACK_USER_DATA:-x} $PACK_USER_DATA"),
            ("$SNAPCRAFT_PART_INSTALL/$CRAFT_PART_SRC$", "$PACK_PART_INSTALL/$CRAFT_PART_SRC$"),
            ("é$é${", "é$é${"),
        ] {
            assert_eq!(rename(text).0, expected);
        }
        assert_eq!(rename("$SNAP_X $SNAPCRAFT_Y $SNAP").1, ["SNAP_X", "SNAPCRAFT_Y"]);
    }

    #[test]
    fn commands_are_parted_as_a_shell_parts_them() {
        for (command, expected) in [
            ("bin/a --b", &["bin/a", "--b"][..]),
            ("  a  'b c' \"d 'e'\" f\\ g ", &["a", "b c", "d 'e'", "f g"]),
            ("a ''", &["a", ""]),
            ("", &[]),
            ("a 'b", &["a", "b"]),
            ("a\\", &["a"]),
        ] {
            assert_eq!(words(command), expected, "{command}");
        }
    }
}
