use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// Far above the debounce; only a failing test waits so long.
const DEADLINE: Duration = Duration::from_secs(20);

struct Scene {
    dir: tempfile::TempDir,
    rereads: Receiver<Reread>,
    _watch: FileWatch,
}

impl Scene {
    fn new(file: &str, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let (sender, rereads) = channel();
        let watch = FileWatch::start(&[dir.path().join(file)], sender).unwrap();
        let scene = Self {
            dir,
            rereads,
            _watch: watch,
        };
        scene.expect_reread("what changed before the start is read, too");
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn expect_reread(&self, why: &str) {
        self.rereads
            .recv_timeout(DEADLINE)
            .unwrap_or_else(|error| panic!("{why}: {error}"));
    }
}

#[test]
fn written_in_place_and_replaced_by_rename_are_both_seen() {
    let scene = Scene::new("p.yaml", |dir| fs::write(dir.join("p.yaml"), "a").unwrap());
    fs::write(scene.path("p.yaml"), "b").unwrap();
    scene.expect_reread("in place");
    for round in 0..3 {
        fs::write(scene.path(".p.swp"), "c").unwrap();
        fs::rename(scene.path(".p.swp"), scene.path("p.yaml")).unwrap();
        scene.expect_reread(&format!("rename {round}"));
    }
}

#[test]
fn removed_and_made_again_is_seen() {
    let scene = Scene::new("p.yaml", |dir| fs::write(dir.join("p.yaml"), "a").unwrap());
    fs::remove_file(scene.path("p.yaml")).unwrap();
    scene.expect_reread("removed");
    fs::write(scene.path("p.yaml"), "b").unwrap();
    scene.expect_reread("made");
}

#[test]
fn mounted_config_map_swap_is_seen_each_time() {
    let version = |dir: &Path, name: &str| {
        fs::create_dir(dir.join(name)).unwrap();
        fs::write(dir.join(name).join("p.yaml"), name).unwrap();
    };
    let scene = Scene::new("p.yaml", |dir| {
        version(dir, "..1");
        symlink("..1", dir.join("..data")).unwrap();
        symlink("..data/p.yaml", dir.join("p.yaml")).unwrap();
    });
    for (old, new) in [("..1", "..2"), ("..2", "..3")] {
        version(scene.dir.path(), new);
        symlink(new, scene.path("..data_tmp")).unwrap();
        fs::rename(scene.path("..data_tmp"), scene.path("..data")).unwrap();
        fs::remove_dir_all(scene.path(old)).unwrap();
        scene.expect_reread(new);
        assert_eq!(fs::read_to_string(scene.path("p.yaml")).unwrap(), new);
    }
}

#[test]
fn link_to_another_directory_is_followed() {
    let scene = Scene::new("link/p.yaml", |dir| {
        fs::create_dir_all(dir.join("real")).unwrap();
        fs::write(dir.join("real/p.yaml"), "a").unwrap();
        symlink("real", dir.join("link")).unwrap();
    });
    fs::write(scene.path("real/p.yaml"), "b").unwrap();
    scene.expect_reread("behind the link");
}

/// *Scenario:* the file's directory is removed, and made again some time later.
/// *Guarantees:* the file is read when its directory is back, and watched from then on.
#[test]
fn directory_made_again_is_watched_again() {
    let scene = Scene::new("etc/p.yaml", |dir| {
        fs::create_dir(dir.join("etc")).unwrap();
        fs::write(dir.join("etc/p.yaml"), "a").unwrap();
    });
    fs::remove_dir_all(scene.path("etc")).unwrap();
    scene.expect_reread("removed");
    // The last of the removal's own readings.
    while scene.rereads.recv_timeout(2 * DEBOUNCE_MAX).is_ok() {}
    fs::create_dir(scene.path("etc")).unwrap();
    fs::write(scene.path("etc/p.yaml"), "b").unwrap();
    scene.expect_reread("made again");
    fs::write(scene.path("etc/p.yaml"), "c").unwrap();
    scene.expect_reread("written");
}

#[test]
fn neighbours_in_the_directory_are_ignored() {
    let interest = Interest {
        names: BTreeSet::from(["p.yaml".into()]),
        directories: BTreeSet::new(),
    };
    let event = |name: &str| Event::new(EventKind::Any).add_path(Path::new("/d").join(name));
    assert!(interest.concerns(&event("p.yaml")));
    assert!(!interest.concerns(&event("other.yaml")));
}

#[test]
fn reading_the_file_is_no_change() {
    let interest = Interest {
        names: BTreeSet::from(["p.yaml".into()]),
        directories: BTreeSet::new(),
    };
    let read = Event::new(EventKind::Access(notify::event::AccessKind::Any)).add_path("/d/p.yaml".into());
    assert!(!interest.concerns(&read));
}

/// *Scenario:* SIGHUP comes before anybody follows it.
/// *Guarantees:* the process goes on, and the files are read once somebody does.
#[tokio::test]
async fn hangup_before_it_is_followed_is_kept() {
    let hangups = Hangups::listen().unwrap();
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).unwrap();
    let (sender, rereads) = channel();
    let follow = tokio::spawn(hangups.follow(sender));
    tokio::task::spawn_blocking(move || rereads.recv_timeout(DEADLINE).unwrap())
        .await
        .unwrap();
    follow.abort();
}

#[test]
fn many_requests_are_one_reading() {
    let (sender, rereads) = channel();
    for _ in 0..100 {
        request(&sender);
    }
    assert_eq!(rereads.try_iter().count(), 1);
}

#[test]
fn hops_of_a_link_to_itself_end() {
    let dir = tempfile::tempdir().unwrap();
    symlink("loop", dir.path().join("loop")).unwrap();
    assert!(hops(&dir.path().join("loop/p.yaml")).len() <= LINKS_MAX + 1);
}
