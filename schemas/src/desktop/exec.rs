//! The command line of an `Exec` key: read, and written with another program in front.
//!
//! Two layers lie over each other (Desktop Entry Specification, "The Exec key"): the escapes of every value are undone
//! first, the quoting of arguments second; writing does both again in reverse order.

use super::values;

/// Characters that may stand in an argument only where it is quoted.
const RESERVED: &[char] =
    &[' ', '\t', '\n', '"', '\'', '\\', '>', '<', '~', '|', '&', ';', '$', '*', '?', '#', '(', ')', '`'];
/// Characters that are escaped within quotes.
const ESCAPED_IN_QUOTES: &[char] = &['"', '`', '$', '\\'];
/// Field codes that stand for files or addresses; one of them may be there once.
const FILE_CODES: [char; 4] = ['f', 'F', 'u', 'U'];
/// Field codes that are kept as well: icon and translated name.
const OTHER_CODES: [char; 2] = ['i', 'c'];
/// Field codes that are left out: deprecated ones, and the path of the entry on the host, which no app has to know.
const DROPPED_CODES: [char; 7] = ['d', 'D', 'n', 'N', 'v', 'm', 'k'];

/// A parsed `Exec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CommandLine {
    program: String,
    arguments: Vec<Argument>,
}

/// An argument: text and field codes in their order.
type Argument = Vec<Piece>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Code(char),
}

impl CommandLine {
    /// Parses the value of an `Exec` key. The error is the rule that it breaks.
    pub fn parse(value: &str) -> Result<CommandLine, &'static str> {
        let line = values::unescape(value)?;
        if line.chars().any(char::is_control) {
            return Err("it has a control character");
        }
        let mut arguments: Vec<Argument> = Vec::new();
        let mut rest = line.trim_matches(' ');
        while !rest.is_empty() {
            let argument;
            (argument, rest) = match rest.strip_prefix('"') {
                Some(text) => quoted(text)?,
                None => unquoted(rest)?,
            };
            // A dropped code that stood alone leaves nothing; an empty argument has to be quoted.
            if !argument.is_empty() {
                arguments.push(argument);
            }
        }
        if arguments.is_empty() {
            return Err("it is empty");
        }
        let program = match arguments.remove(0).as_slice() {
            [Piece::Text(program)] if !program.is_empty() => program.clone(),
            _ => return Err("its program is empty or a field code"),
        };
        let files = arguments
            .iter()
            .flatten()
            .filter(|piece| matches!(piece, Piece::Code(c) if FILE_CODES.contains(c)));
        if files.count() > 1 {
            return Err("it has more than one of %f, %F, %u and %U");
        }
        Ok(CommandLine { program, arguments })
    }

    /// What it starts.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// An argument of the kind by which launchers mark files that they are to make accessible, such as `@@` and `@@u`.
    pub fn launcher_token(&self) -> Option<&str> {
        self.arguments.iter().find_map(|argument| match argument.first() {
            Some(Piece::Text(text)) if text.starts_with("@@") => Some(text.as_str()),
            _ => None,
        })
    }

    /// The value of an `Exec` that starts `launcher` with these arguments behind it.
    pub fn started_by(&self, launcher: &[&str]) -> String {
        let words = launcher.iter().map(|word| vec![Piece::Text((*word).to_owned())]);
        let arguments: Vec<String> = words.chain(self.arguments.iter().cloned()).map(|a| write(&a)).collect();
        values::escape(&arguments.join(" "))
    }
}

/// Reads a quoted argument, its opening quote taken off, and returns it with what follows.
fn quoted(text: &str) -> Result<(Argument, &str), &'static str> {
    let mut literal = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                let rest = &text[at + 1..];
                if !rest.is_empty() && !rest.starts_with(' ') {
                    return Err("an argument is quoted in part; quote it as a whole");
                }
                return Ok((quoted_pieces(&literal)?, rest.trim_start_matches(' ')));
            }
            '\\' => match characters.next() {
                Some((_, escaped)) if ESCAPED_IN_QUOTES.contains(&escaped) => literal.push(escaped),
                _ => return Err("a backslash in quotes is followed by none of \", `, $ and \\"),
            },
            '`' | '$' => return Err("` and $ in quotes need a backslash"),
            plain => literal.push(plain),
        }
    }
    Err("a quote is not closed")
}

/// In quotes a field code has no meaning, but one alone is often written so, and is what its writer meant.
fn quoted_pieces(literal: &str) -> Result<Argument, &'static str> {
    let pieces = pieces(literal)?;
    let has_code = pieces.iter().any(|piece| matches!(piece, Piece::Code(_)));
    match pieces.len() {
        0 if literal.is_empty() => Ok(vec![Piece::Text(String::new())]),
        n if n > 1 && has_code => Err("a field code in quotes stands with other text"),
        _ => Ok(pieces),
    }
}

/// Reads an argument without quotes, and returns it with what follows.
fn unquoted(text: &str) -> Result<(Argument, &str), &'static str> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    if word.contains(RESERVED) {
        return Err("an argument has a reserved character and no quotes");
    }
    Ok((pieces(word)?, rest.trim_start_matches(' ')))
}

/// Splits text into literals and field codes.
fn pieces(text: &str) -> Result<Argument, &'static str> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            literal.push(character);
            continue;
        }
        match characters.next() {
            Some('%') => literal.push('%'),
            Some(code) if FILE_CODES.contains(&code) || OTHER_CODES.contains(&code) => {
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Code(code));
            }
            Some(code) if DROPPED_CODES.contains(&code) => {}
            _ => return Err("it has an unknown field code; a % itself is written %%"),
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(pieces)
}

/// Writes one argument, quoted where it has to be.
fn write(argument: &Argument) -> String {
    let mut word = String::new();
    for piece in argument {
        match piece {
            Piece::Text(text) => word.push_str(&text.replace('%', "%%")),
            Piece::Code(code) => word.extend(['%', *code]),
        }
    }
    if !word.is_empty() && !word.contains(RESERVED) {
        return word;
    }
    let mut quoted = String::from('"');
    for character in word.chars() {
        if ESCAPED_IN_QUOTES.contains(&character) {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(value: &str) -> Result<String, &'static str> {
        CommandLine::parse(value).map(|line| line.started_by(&["/p", "run"]))
    }

    #[test]
    fn arguments_and_field_codes_are_kept() {
        for (value, expected) in [
            ("x", "/p run"),
            ("x %U", "/p run %U"),
            ("x  --a=%f   b", "/p run --a=%f b"),
            (r#"x "%u""#, "/p run %u"),
            (r#"x "a b" "" "c""#, r#"/p run "a b" "" c"#),
            ("x 100%%", "/p run 100%%"),
            ("x %k %i %d%c", "/p run %i %c"),
            // The value's escapes first, then the argument's: both layers come back.
            (r#"x "a\\$b\\\\c""#, r#"/p run "a\\$b\\\\c""#),
            (r#"x\s"a b""#, r#"/p run "a b""#),
        ] {
            assert_eq!(started(value).as_deref(), Ok(expected), "{value}");
        }
    }

    #[test]
    fn what_the_specification_forbids_is_refused() {
        for value in [
            "",
            "   ",
            "%U",
            r#""""#,
            "%k",
            "x a;b",
            "x $HOME",
            "x `id`",
            "x 'a b'",
            "x ~/a",
            r"x a\\b",
            r#"x "a"#,
            r#"x "a"b"#,
            r#"x a"b""#,
            r#"x "$HOME""#,
            r#"x "`id`""#,
            r#"x "a\\nb""#,
            r#"x "a %f""#,
            "x %z",
            "x %",
            "x %f %U",
            r"x a\nb",
            r"x\ny",
            r"x a\tb",
            r"x \q",
        ] {
            assert!(started(value).is_err(), "{value:?} gave {:?}", started(value));
        }
    }

    #[test]
    fn a_program_with_blanks_in_its_path_is_quoted() {
        let line = CommandLine::parse("x").unwrap();
        assert_eq!(line.started_by(&["/opt/my tools/p\\ack", "run"]), r#""/opt/my tools/p\\\\ack" run"#);
    }
}
