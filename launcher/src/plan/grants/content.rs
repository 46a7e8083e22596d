//! Plugs that show content of other packages.

use pack_schemas::interface::content::{DEFAULT_TARGET, SOCKETS, SOCKETS_FOLDER, last_name};
use pack_schemas::names::Name;
use pack_schemas::plan::{Access, Content, ImageRole, Reason, Source};

use super::Asked;
use crate::plan::content::Provided;
use crate::plan::entry;

impl Asked<'_> {
    /// Each thing that is offered gets a place of its own at the target. No place can be made in the package or a base: where
    /// the target is there, all is put together elsewhere, and shown at the target as a whole.
    pub(super) fn content(&mut self, target: Option<&str>, plug: &Name) {
        let request = self.request;
        let Some(found) = request.content.iter().find(|found| found.wanted.plug == *plug) else { return };
        let own = format!("{DEFAULT_TARGET}/{plug}");
        let target = target.unwrap_or(&own);
        let folder =
            if self.is_covered(target) { self.shown_again_at(target, &own, plug) } else { target.into() };
        self.put(folder.clone(), Content::Folder, plug);
        let number = self.providers.iter().position(|provider| *provider == found.wanted.provider);
        if let Some(image) = number.map(ImageRole::Provider) {
            for path in found.read.iter().map(|path| path.as_str()) {
                let content = Content::Image { image, path: path.to_owned() };
                self.put(format!("{folder}/{}", last_name(path)), content, plug);
            }
        }
        if found.sockets {
            self.put(format!("{folder}/{SOCKETS}"), sockets(request.data, found), plug);
        }
    }

    fn is_covered(&self, target: &str) -> bool {
        let is_in = |folder: &str| target.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        self.covered.iter().any(|folder| folder == target || is_in(folder))
    }

    /// The folder that is shown at the target once all entries are made; `own` where none is yet.
    fn shown_again_at(&mut self, target: &str, own: &str, plug: &Name) -> String {
        for made in &self.again {
            if let Content::Again { path } = &made.content
                && made.target == target
            {
                return path.clone();
            }
        }
        let content = Content::Again { path: own.to_owned() };
        self.again.push(entry(target, content, Reason::Plug(plug.clone())));
        own.to_owned()
    }
}

/// The folder that the provider's apps make for their sockets. They could have made a link of it, or of what is above it.
fn sockets(data: &str, found: &Provided) -> Content {
    let path = sockets_path(found);
    Content::Bind {
        source: Source::Beneath { folder: data.to_owned(), path },
        access: Access::ReadOnly,
        optional: true,
    }
}

/// Where the sockets for a plug are, below the folder of all packages' data.
pub fn sockets_path(found: &Provided) -> String {
    format!("{}/common/{SOCKETS_FOLDER}/{}", found.wanted.provider, found.wanted.label)
}
