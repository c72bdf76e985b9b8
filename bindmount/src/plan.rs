//! From the request to the steps. Looks at what is there; changes nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use common::{Failure, inroot};

use crate::cli::{Request, Spec};
use crate::options::Options;
use crate::place::{self, Place};
use crate::resolver::{self, Found};
use crate::step::Step;
use crate::{overlay, unmount};

/// What bindmount will do. `--list` has no steps, and does not come here.
pub fn plan(request: Request, mkdir: bool, command: Vec<OsString>) -> Result<Vec<Step>, Failure> {
    let mut steps = match request {
        Request::Bind(Spec { src, dst, options }) => {
            let place = Place::Host(dst);
            let mut steps = Vec::from_iter(make(mkdir, mkdir && src.is_dir(), &place));
            steps.push(Step::Bind { src, place, options });
            steps
        }
        Request::Std { rootfs, binds } => std(&rootfs, binds, mkdir)?,
        Request::Unmount { target, recursive, lazy } => unmount::plan(&target, recursive, lazy)?,
        Request::List { .. } => Vec::new(),
    };
    if !command.is_empty() {
        steps.push(Step::Exec(command));
    }
    Ok(steps)
}

/// The step that makes the mount point, of the kind that the source is.
fn make(mkdir: bool, folder: bool, place: &Place) -> Option<Step> {
    mkdir.then(|| Step::Make { place: place.clone(), folder })
}

fn std(rootfs: &Path, binds: Vec<Spec>, mkdir: bool) -> Result<Vec<Step>, Failure> {
    let root = inroot::open_root(rootfs)?;
    if place::name(&root)? == Path::new("/") {
        return Err(Failure::new(format!("mount into {rootfs:?}: it is the root of this process"))
            .hint("is a shell variable empty? name the root file system"));
    }
    let tree = |path: &str, options| Step::Bind {
        src: Path::new("/").join(path),
        place: Place::inside(rootfs, path),
        options,
    };
    let mut steps = Vec::new();
    for (path, step) in [
        ("dev", tree("dev", Options::of_dev())),
        ("proc", Step::Proc(Place::inside(rootfs, "proc"))),
        ("sys", tree("sys", Options::of_sys())),
    ] {
        let place = Place::inside(rootfs, path);
        place.check(mkdir)?;
        steps.extend(make(mkdir, true, &place));
        steps.push(step);
    }
    if let Some(file) = resolver::of_the_machine() {
        steps.extend(resolver(rootfs, file, mkdir)?);
    }
    for Spec { src, dst, options } in binds {
        let place = Place::resolved(rootfs, &dst)?;
        place.check(true)?; // what is missing may be in a mount that an earlier step makes
        steps.extend(make(mkdir, mkdir && src.is_dir(), &place));
        steps.push(Step::Bind { src, place, options });
    }
    Ok(steps)
}

fn resolver(rootfs: &Path, file: PathBuf, mkdir: bool) -> Result<Vec<Step>, Failure> {
    let place = resolver::place(rootfs);
    Ok(match resolver::look(rootfs)? {
        Found::File(place) => vec![Step::Resolver { file, place }],
        Found::Nothing if mkdir => {
            vec![Step::Make { place: place.clone(), folder: false }, Step::Resolver { file, place }]
        }
        Found::Nothing | Found::NoFile => {
            vec![Step::Cover { file, etc: place.folder(), user: overlay::in_user_namespace() }]
        }
    })
}
