//! Icons: found in the package, checked, and given a name that is the package's own.
//!
//! An `Icon` key is a path in the package, or the name of an icon of its `usr/share/icons/hicolor` or
//! `usr/share/pixmaps` (the same without `usr/`). A name that the package has no icon for is one of the desktop's
//! theme, and is kept.
//!
//! The desktop's programs decode an icon outside any sandbox, so only regular files of two formats come through:
//!
//! - PNG: the signature, an IHDR chunk first, at most 1024 pixels a side, at most 1 MiB.
//! - SVG: well-formed XML of at most 1 MiB whose root is `svg`; without scripts, event handlers, entities, XInclude,
//!   processing instructions and foreign objects, and with no reference to anything but itself and embedded pictures.
//!   A DOCTYPE without entities is accepted, since many drawing programs write one. What is refused could make a
//!   viewer read other files or the network; no icon needs it.

use std::fmt;

use pack_schemas::manifest::RelativePath;
use pack_schemas::state::ExportPlace;

use super::{ExportError, ExportFile, Material, export, file_stem, path_in_package};
use crate::reader::FileKind;

/// Largest icon in bytes.
const SIZE_LIMIT: u64 = 1 << 20;
/// Longest side of a PNG in pixels.
const SIDE_LIMIT: u32 = 1024;
/// Most sizes of one icon that are looked at.
const SIZES_MOST: usize = 64;
/// Most XML elements and texts in an SVG.
const NODES_LIMIT: u32 = 50_000;
/// Longest name of an icon.
const NAME_LIMIT: usize = 80;
/// Sizes of the hicolor theme, in pixels, largest first.
const THEME_SIZES: [u32; 13] = [1024, 512, 256, 192, 128, 96, 72, 64, 48, 36, 32, 24, 22];
/// The smallest size of the hicolor theme.
const SMALLEST: u32 = 16;
const THEME_ROOTS: [&str; 2] = ["usr/share", "share"];

/// Why an icon is not exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IconProblem {
    /// There is no such file in the package.
    Missing,
    /// It is a link, a folder, a FIFO, a socket or a device.
    NotAFile,
    /// It is larger than 1 MiB.
    TooLarge,
    /// It is neither PNG nor SVG, or not what its name says.
    Format,
    /// It has more than 1024 pixels a side.
    TooManyPixels,
    /// An SVG that could do more than be shown.
    Active {
        /// What it has.
        what: String,
    },
    /// It cannot be read.
    Unreadable {
        /// The reader's words.
        reason: String,
    },
}

impl fmt::Display for IconProblem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IconProblem::Missing => out.write_str("it is not in the package"),
            IconProblem::NotAFile => out.write_str("it is not a regular file"),
            IconProblem::TooLarge => write!(out, "it is larger than {} KiB", SIZE_LIMIT >> 10),
            IconProblem::Format => out.write_str("it is neither a PNG nor an SVG, or not what its name says"),
            IconProblem::TooManyPixels => write!(out, "it has more than {SIDE_LIMIT} pixels a side"),
            IconProblem::Active { what } => {
                write!(out, "it is an SVG with {}", pack_schemas::text::visible(what))
            }
            IconProblem::Unreadable { reason } => {
                write!(out, "it cannot be read: {}", pack_schemas::text::visible(reason))
            }
        }
    }
}

/// What became of an `Icon` key.
pub(super) struct Found {
    pub icon: Icon,
    /// Files that would have been part of it, and what is wrong with them.
    pub problems: Vec<(String, IconProblem)>,
}

/// What an `Icon` key is exported as.
pub(super) enum Icon {
    /// The package's own.
    Exported {
        /// Its name in the theme.
        name: String,
        /// Its files.
        files: Vec<ExportFile>,
    },
    /// An icon of the desktop's theme.
    OfTheme(String),
    /// Nothing.
    Unusable,
}

/// The format of an icon that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// With its longer side in pixels.
    Png(u32),
    Svg,
}

/// Finds what an `Icon` key names: with a slash in it a path, without one an icon of the theme.
pub(super) fn find(package: Material<'_>, icon: &str) -> Result<Found, ExportError> {
    let is_path = icon.contains('/');
    let candidates = if is_path { path_candidates(icon) } else { theme_candidates(package, icon)? };
    Ok(judge(package, icon, is_path, candidates))
}

/// Finds the icon at a path in the package.
pub(super) fn at_path(package: Material<'_>, path: &RelativePath) -> Found {
    judge(package, path.as_str(), true, vec![(path.to_string(), None)])
}

fn judge(package: Material<'_>, icon: &str, is_path: bool, candidates: Vec<IconCandidate>) -> Found {
    let stem = stem(icon);
    let exported_name = format!("{}_{stem}", package.manifest.name);
    let mut found = Found { icon: Icon::Unusable, problems: Vec::new() };
    let mut files = Vec::new();
    for (path, size) in candidates {
        match check(package, &path) {
            Ok((format, bytes)) => {
                let file = icon_file(&exported_name, format, size.as_deref(), bytes);
                if !files.iter().any(|earlier: &ExportFile| earlier.export == file.export) {
                    files.push(file);
                }
            }
            Err(problem) => found.problems.push((path, problem)),
        }
    }
    if !files.is_empty() {
        found.icon = Icon::Exported { name: exported_name, files };
    } else if is_path && found.problems.is_empty() {
        found.problems.push((icon.to_owned(), IconProblem::Missing));
    } else if !is_path && found.problems.is_empty() && stem == icon {
        found.icon = Icon::OfTheme(stem);
    }
    found
}

/// The name of an icon, without what cannot be in the name of a file of the theme.
fn stem(icon: &str) -> String {
    let name = match icon.rsplit('/').next().unwrap_or(icon) {
        name if [".png", ".svg", ".xpm"].iter().any(|ending| name.ends_with(ending)) => file_stem(name),
        name => name,
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._+-".contains(c) { c } else { '-' };
    let name: String = name.chars().take(NAME_LIMIT).map(plain).collect();
    if name.trim_matches(['.', '-']).is_empty() { "icon".to_owned() } else { name }
}

/// A path in the package, and the folder of the theme that the icon belongs to, if it is in one.
type IconCandidate = (String, Option<String>);

fn path_candidates(icon: &str) -> Vec<IconCandidate> {
    path_in_package(icon).map(|path| (path.into(), None)).into_iter().collect()
}

/// Files of the package's theme, and of pixmaps where it has none there.
fn theme_candidates(package: Material<'_>, icon: &str) -> Result<Vec<IconCandidate>, ExportError> {
    let mut candidates = Vec::new();
    let icon = stem(icon);
    for root in THEME_ROOTS {
        let theme = format!("{root}/icons/hicolor");
        for size in list(package, &theme)?.into_iter().filter(|size| is_theme_size(size)).take(SIZES_MOST) {
            for ending in ["png", "svg"] {
                let path = format!("{theme}/{size}/apps/{icon}.{ending}");
                if exists(package, &path)? {
                    candidates.push((path, Some(size.clone())));
                }
            }
        }
    }
    for path in
        THEME_ROOTS.iter().flat_map(|root| ["png", "svg"].map(|e| format!("{root}/pixmaps/{icon}.{e}")))
    {
        if candidates.is_empty() && exists(package, &path)? {
            candidates.push((path, None));
        }
    }
    Ok(candidates)
}

fn is_theme_size(name: &str) -> bool {
    let number = |text: &str| (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let sides = name.strip_suffix("@2").unwrap_or(name);
    name == "scalable" || sides.split_once('x').is_some_and(|(width, height)| number(width) && number(height))
}

fn list(package: Material<'_>, path: &str) -> Result<Vec<String>, ExportError> {
    let failed = |source| ExportError::Read { path: path.to_owned(), source };
    match package.files.kind(path).map_err(failed)? {
        Some(FileKind::Folder) => {
            let mut names = package.files.list(path).map_err(failed)?;
            names.sort();
            Ok(names)
        }
        _ => Ok(Vec::new()),
    }
}

fn exists(package: Material<'_>, path: &str) -> Result<bool, ExportError> {
    let kind = package.files.kind(path);
    let kind = kind.map_err(|source| ExportError::Read { path: path.to_owned(), source })?;
    Ok(kind.is_some())
}

/// Reads an icon and checks that it is one.
fn check(package: Material<'_>, path: &str) -> Result<(Format, Vec<u8>), IconProblem> {
    let unreadable = |error: crate::reader::ReadError| IconProblem::Unreadable { reason: error.to_string() };
    match package.files.kind(path).map_err(unreadable)? {
        None => return Err(IconProblem::Missing),
        Some(FileKind::Regular { size }) if size > SIZE_LIMIT => return Err(IconProblem::TooLarge),
        Some(FileKind::Regular { .. }) => {}
        Some(_) => return Err(IconProblem::NotAFile),
    }
    let bytes = package.files.read(path, SIZE_LIMIT).map_err(unreadable)?;
    let format = if bytes.starts_with(&PNG_SIGNATURE) { check_png(&bytes)? } else { check_svg(&bytes)? };
    let says_svg = path.ends_with(".svg");
    let says_png = path.ends_with(".png");
    match format {
        Format::Svg if says_png => Err(IconProblem::Format),
        Format::Png(_) if says_svg => Err(IconProblem::Format),
        _ => Ok((format, bytes)),
    }
}

const PNG_SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// PNG Specification, section 11.2.2: the first chunk is IHDR, 13 bytes, width and height first.
fn check_png(bytes: &[u8]) -> Result<Format, IconProblem> {
    let header = bytes.get(8..24).ok_or(IconProblem::Format)?;
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (length, width, height) = (number(0), number(8), number(12));
    if length != 13 || header[4..8] != *b"IHDR" || width == 0 || height == 0 {
        return Err(IconProblem::Format);
    }
    if width.max(height) > SIDE_LIMIT {
        return Err(IconProblem::TooManyPixels);
    }
    Ok(Format::Png(width.max(height)))
}

fn check_svg(bytes: &[u8]) -> Result<Format, IconProblem> {
    let text = str::from_utf8(bytes).map_err(|_| IconProblem::Format)?;
    let active = |what: &str| Err(IconProblem::Active { what: what.to_owned() });
    // Before parsing, which would expand them.
    if text.contains("<!ENTITY") || text.contains("<!ATTLIST") {
        return active("entities");
    }
    let options =
        roxmltree::ParsingOptions { allow_dtd: true, nodes_limit: NODES_LIMIT, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(text, options).map_err(|_| IconProblem::Format)?;
    if document.root_element().tag_name().name() != "svg" {
        return Err(IconProblem::Format);
    }
    for node in document.descendants() {
        if node.is_pi() {
            return active("a processing instruction");
        }
        let name = node.tag_name();
        if ["script", "foreignObject", "handler", "iframe"].contains(&name.name()) {
            return active(name.name());
        }
        if name.namespace().is_some_and(|namespace| namespace.contains("XInclude")) {
            return active("XInclude");
        }
        if name.name() == "style" && node.descendants().filter_map(|n| n.text()).any(refers_outside) {
            return active("a style that refers to other files");
        }
        for attribute in node.attributes() {
            check_attribute(attribute.name(), attribute.value())?;
        }
    }
    Ok(Format::Svg)
}

fn check_attribute(name: &str, value: &str) -> Result<(), IconProblem> {
    let active = |what: &str| Err(IconProblem::Active { what: what.to_owned() });
    let value = value.trim();
    if name.get(..2).is_some_and(|begin| begin.eq_ignore_ascii_case("on")) {
        return active("an event handler");
    }
    let is_embedded =
        ["data:image/png", "data:image/jpeg", "data:image/jpg"].iter().any(|p| value.starts_with(p));
    if matches!(name, "href" | "src") && !value.is_empty() && !value.starts_with('#') && !is_embedded {
        return active("a reference to another file");
    }
    if refers_outside(value) {
        return active("a style that refers to other files");
    }
    Ok(())
}

/// Whether CSS text has an `@import`, or a `url(…)` that is not one of the document's own elements.
fn refers_outside(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    // A backslash can hide either (CSS Syntax, "escaping").
    if lower.contains("@import")
        || lower.contains("image-set(")
        || (lower.contains('\\') && lower.contains('('))
    {
        return true;
    }
    lower
        .split("url(")
        .skip(1)
        .any(|rest| !rest.trim_start_matches([' ', '"', '\'', '\t', '\n']).starts_with('#'))
}

/// Where an icon goes: in the folder of the theme that it came from, or the one that fits it best.
fn icon_file(name: &str, format: Format, theme_size: Option<&str>, bytes: Vec<u8>) -> ExportFile {
    let (size, ending) = match format {
        Format::Svg => (theme_size.unwrap_or("scalable").to_owned(), "svg"),
        Format::Png(side) => {
            let fitting = THEME_SIZES.iter().find(|size| **size <= side).unwrap_or(&SMALLEST);
            // The theme's folder of drawings holds no pictures.
            let size = theme_size.filter(|size| *size != "scalable").map(str::to_owned);
            (size.unwrap_or_else(|| format!("{fitting}x{fitting}")), "png")
        }
    };
    let export = export(ExportPlace::Icons, format!("hicolor/{size}/apps/{name}.{ending}"));
    ExportFile { export, bytes, mode: 0o644 }
}

#[cfg(test)]
mod tests;
