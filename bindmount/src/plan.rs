//! From the request to the steps. Looks at what is there; changes nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use common::{Failure, inroot};

use crate::cli::{Dev, Proc, Request, Spec};
use crate::options::Options;
use crate::place::{self, Place};
use crate::resolver::{self, Found};
use crate::step::Step;
use crate::{devices, mask, overlay, unmount};

/// What bindmount will do. `--list` has no steps, and does not come here.
pub fn plan(request: Request, mkdir: bool, command: Vec<OsString>) -> Result<Vec<Step>, Failure> {
    let mut steps = match request {
        Request::Bind(Spec { src, dst, options }) => {
            let place = Place::Host(dst);
            let mut steps = Vec::from_iter(make(mkdir, mkdir && src.is_dir(), &place));
            steps.push(Step::Bind { src, place, options });
            steps
        }
        Request::Std { rootfs, dev, proc, binds } => {
            let mut steps = std(&rootfs, dev, proc, mkdir)?;
            for spec in binds {
                steps.extend(bind(&rootfs, spec, mkdir)?);
            }
            steps
        }
        Request::Unmount { target, recursive, lazy } => unmount::plan(&target, recursive, lazy)?,
        Request::BindIn { pid, spec } => vec![Step::BindIn { pid, spec, mkdir }],
        Request::UnmountIn { pid, target, lazy } => vec![Step::UnmountIn { pid, target, lazy }],
        Request::List { .. } | Request::ListIn { .. } => Vec::new(),
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

fn std(rootfs: &Path, dev: Dev, proc: Proc, mkdir: bool) -> Result<Vec<Step>, Failure> {
    let root = inroot::open_root(rootfs)?;
    if place::name(&root)? == Path::new("/") {
        return Err(Failure::new(format!("mount into {rootfs:?}: it is the root of this process"))
            .hint("is a shell variable empty? name the root file system"));
    }
    let at = |path| Place::inside(rootfs, path);
    let tree = |path, options| {
        let src = Path::new("/").join(path);
        Step::Bind { src, place: at(path), options }
    };
    let dev = match dev {
        Dev::Minimal => devices::parts().map(|part| Step::Device { place: at("dev"), part }).into(),
        Dev::Machine => vec![tree("dev", Options::of_dev())],
    };
    let user = overlay::in_user_namespace();
    let mut procfs = vec![Step::Proc { place: at("proc"), user }];
    let mut sysfs = vec![tree("sys", Options::of_sys())];
    if proc == Proc::Masked {
        let mask = |path, part| Step::Mask { place: at(path), part };
        procfs.extend([mask("proc", mask::Part::Hidden), mask("proc", mask::Part::ReadOnly)]);
        sysfs.push(mask("sys", mask::Part::HiddenInSys));
    }
    let mut steps = Vec::new();
    for (path, mounts) in [("dev", dev), ("proc", procfs), ("sys", sysfs)] {
        at(path).check(mkdir)?;
        steps.extend(make(mkdir, true, &at(path)));
        steps.extend(mounts);
    }
    if let Some(file) = resolver::of_the_machine() {
        steps.extend(resolver(rootfs, file, mkdir)?);
    }
    Ok(steps)
}

fn bind(rootfs: &Path, spec: Spec, mkdir: bool) -> Result<Vec<Step>, Failure> {
    let Spec { src, dst, options } = spec;
    let place = Place::resolved(rootfs, &dst)?;
    place.check(true)?; // what is missing may be in a mount that an earlier step makes
    let mut steps = Vec::from_iter(make(mkdir, mkdir && src.is_dir(), &place));
    steps.push(Step::Bind { src, place, options });
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
