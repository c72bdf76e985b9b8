//! From the request to the steps. Looks at what is there; changes nothing.

use std::ffi::OsString;
use std::path::Path;

use common::{Failure, inroot};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::cli::Request;
use crate::inside::{Dev, Proc, Tree};
use crate::options::Options;
use crate::place::{self, Place};
use crate::resolver::{self, Found, Servers};
use crate::seen::Seen;
use crate::spec::Spec;
use crate::step::Step;
use crate::{devices, mask, overlay, target, unmount};

/// What bindmount will do. `--list` has no steps, and does not come here.
pub fn plan(request: Request, mkdir: bool, command: Vec<OsString>) -> Result<Vec<Step>, Failure> {
    let mut steps = match request {
        Request::Bind(specs) => {
            let steps = |Spec { src, dst, options }| {
                let place = Place::Host(dst);
                look_at(&src);
                let _ = place.open();
                let make = make(mkdir, mkdir && src.is_dir(), &place);
                make.into_iter().chain([Step::Bind { src, place, options }])
            };
            specs.into_iter().flat_map(steps).collect()
        }
        Request::Into(tree) => inside(tree, mkdir)?,
        Request::Unmount { target, recursive, lazy } => unmount::plan(&target, recursive, lazy)?,
        Request::BindIn { pid, spec } => {
            look_at(&spec.src);
            target::look_at(pid, &spec.dst);
            vec![Step::BindIn { pid, spec, mkdir }]
        }
        Request::UnmountIn { pid, target, lazy } => vec![Step::UnmountIn { pid, target, lazy }],
        Request::List { .. } | Request::ListIn { .. } => Vec::new(),
    };
    if !command.is_empty() {
        steps.push(Step::Exec(command));
    }
    Ok(steps)
}

/// Looks whether a path leads somewhere, as all that are given are looked at here: a file system whose
/// server is silent keeps who asks it until a signal ends them, and while steps are done signals wait.
/// What is wrong with a path is told by its step.
fn look_at(path: &Path) {
    let _ = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
}

/// The step that makes the mount point, of the kind that the source is.
fn make(mkdir: bool, folder: bool, place: &Place) -> Option<Step> {
    mkdir.then(|| Step::Make { place: place.clone(), folder })
}

fn inside(tree: Tree, mkdir: bool) -> Result<Vec<Step>, Failure> {
    let rootfs = tree.rootfs.as_path();
    let root = inroot::open_root(rootfs)?;
    if place::name(&root)? == Path::new("/") {
        return Err(Failure::new(format!("mount into {rootfs:?}: it is the root of this process"))
            .hint("is a shell variable empty? name the root file system"));
    }
    let seen = Seen::new(&tree, rootfs, &root)?;
    let rootfs = seen.rootfs.as_path();
    let at = |path| Place::inside(rootfs, path);
    let copy = |path, options| {
        let src = Path::new("/").join(path);
        Step::Bind { src, place: at(path), options }
    };
    let dev = match tree.dev {
        None => Vec::new(),
        Some(Dev::Minimal) => {
            devices::parts().map(|part| Step::Device { place: at("dev"), part }).into()
        }
        Some(Dev::Machine) => vec![copy("dev", Options::of_dev())],
    };
    let user = overlay::in_user_namespace();
    let mut procfs = Vec::from_iter(tree.proc.map(|_| Step::Proc { place: at("proc"), user }));
    let mask = |path, part| Step::Mask { place: at(path), part };
    if tree.proc == Some(Proc::Masked) {
        procfs.extend([mask("proc", mask::Part::Hidden), mask("proc", mask::Part::ReadOnly)]);
    }
    let hidden = || mask("sys", mask::Part::HiddenInSys);
    let sysfs = match (tree.sys, tree.proc) {
        (false, _) => Vec::new(),
        (true, Some(Proc::Plain)) => vec![copy("sys", Options::to_read_all())],
        // What another user namespace has mounted on it can't be left behind, but covered.
        (true, _) if user => {
            let mounted = mask("sys", mask::Part::mounted_in_sys()?);
            vec![copy("sys", Options::to_read_all()), hidden(), mounted]
        }
        (true, _) => {
            let groups = Path::new("/sys/fs/cgroup").is_dir();
            let groups = groups.then(|| copy("sys/fs/cgroup", Options::to_read_all()));
            let sys = [copy("sys", Options::to_read()), hidden()];
            sys.into_iter().chain(groups).collect()
        }
    };
    let mut steps = Vec::new();
    let (covers, overlays): (Vec<_>, Vec<_>) =
        tree.overlays.into_iter().partition(|(at, _)| at.is_none());
    for (_, layers) in covers {
        let place = Place::Host(rootfs.to_owned());
        steps.push(Step::Overlay { place, layers, user, enter: seen.from_within });
    }
    for (path, mounts) in [("dev", dev), ("proc", procfs), ("sys", sysfs)] {
        if !mounts.is_empty() {
            seen.place(path).check(mkdir)?;
            steps.extend(make(mkdir, true, &at(path)));
            steps.extend(mounts);
        }
    }
    let servers = match tree.resolver {
        None => None,
        Some(none) if none.is_empty() => Servers::of_the_machine(),
        Some(listed) => Some(Servers::Listed(listed)),
    };
    if let Some(servers) = servers {
        let dev = (tree.dev == Some(Dev::Minimal)).then(|| at("dev"));
        steps.extend(resolver(&seen, servers, dev, mkdir, user)?);
    }
    if tree.mqueue {
        let place = at("dev/mqueue");
        if tree.dev.is_none() {
            seen.place("dev/mqueue").check(mkdir)?;
        }
        // In the small /dev there is none.
        steps.extend(make(mkdir || tree.dev == Some(Dev::Minimal), true, &place));
        steps.push(Step::Queues { place });
    }
    for (dst, layers) in overlays {
        let _ = layers.check();
        let place = seen.point(&dst.unwrap_or_default())?;
        steps.extend(make(mkdir, true, &place));
        steps.push(Step::Overlay { place, layers, user, enter: false });
    }
    for (dst, memory) in tree.memory {
        let place = seen.point(&dst)?;
        steps.extend(make(mkdir, true, &place));
        steps.push(Step::Memory { place, memory });
    }
    for spec in tree.binds {
        steps.extend(bind(&seen, spec, mkdir)?);
    }
    Ok(steps)
}

fn bind(seen: &Seen, spec: Spec, mkdir: bool) -> Result<Vec<Step>, Failure> {
    let Spec { src, dst, options } = spec;
    let place = seen.point(&dst)?;
    look_at(&src);
    let mut steps = Vec::from_iter(make(mkdir, mkdir && src.is_dir(), &place));
    steps.push(Step::Bind { src, place, options });
    Ok(steps)
}

fn resolver(
    seen: &Seen,
    servers: Servers,
    dev: Option<Place>,
    mkdir: bool,
    user: bool,
) -> Result<Vec<Step>, Failure> {
    let place = resolver::place(&seen.rootfs);
    // What is made on an overlay is made above, and the tree below stays as it is.
    let mkdir = match resolver::denied(&seen.place("etc")) {
        None => seen.keeps_changes.unwrap_or(mkdir),
        Some(errno) => errno == Errno::EROFS && seen.keeps_changes == Some(true),
    };
    Ok(match resolver::look(seen.layer(&resolver::path()))? {
        Found::File(place) => vec![Step::Resolver { servers, place: seen.shown(place)?, dev }],
        Found::Nothing if mkdir => {
            vec![
                Step::Make { place: place.clone(), folder: false },
                Step::Resolver { servers, place, dev },
            ]
        }
        Found::Nothing | Found::NoFile => {
            vec![Step::Cover { servers, etc: place.folder(), user }]
        }
    })
}
