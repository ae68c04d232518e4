//! A fleet with apps of shell scripts, its server, and one device.

use std::fs;
use std::path::PathBuf;

use tidelock_tests::programs::Ours;
use tidelock_tests::scratch::Scratch;
use tidelock_tests::served::Served;
use tidelock_tests::world::{Device, Fleet, Ran};

/// Everything around one device.
pub struct Stage {
    pub scratch: Scratch,
    pub fleet: Fleet,
    pub device: Device,
    pub served: Served,
}

/// An app that notes its starts and stops, and is good as long as its tree holds a file `good`.
pub const RECIPE: &str = r#"format = 1
[hooks]
start = "echo start $TIDELOCK_VERSION >> $TIDELOCK_DATA/story; test ! -e fails-to-start"
stop = "echo stop $TIDELOCK_VERSION >> $TIDELOCK_DATA/story"
timeout = 5
[[check]]
name = "good"
command = "test -e good || { echo no file called good; exit 1; }"
interval = 1
deadline = 1
"#;

impl Stage {
    /// A fleet that wants `apps`, each with its files, published; and a device that has joined and not updated.
    pub fn with(name: &str, apps: &[(&str, &[(&str, &str)])]) -> Self {
        let scratch = Scratch::new(name);
        let fleet = Fleet::init(&scratch.join("fleet"));
        let wanted: Vec<String> = apps.iter().map(|(app, _)| format!("{app} = \"follow\"\n")).collect();
        fleet.write("environments/staging.toml", format!("[apps]\n{}", wanted.concat()));
        for (app, files) in apps {
            fleet.write(&format!("apps/{app}/app.toml"), format!("path = \"apps/{app}/tree\"\n"));
            fleet.write(&format!("apps/{app}/tree/release.toml"), RECIPE);
            for (path, text) in *files {
                fleet.write(&format!("apps/{app}/tree/{path}"), text);
            }
        }
        let stage = Self {
            served: Served::start(&published(&fleet), None).unwrap(),
            device: Device::new(&scratch.join("device"), Ours::Agent),
            fleet,
            scratch,
        };
        let names: Vec<String> = apps.iter().map(|(app, _)| format!("\"{app}\"")).collect();
        stage.device.configure("test", &format!("poll = \"1s\"\nallow_root_apps = [{}]\n", names.join(", ")));
        stage.device.join(stage.served.url(), &stage.fleet);
        stage
    }

    /// The app `web` alone, good.
    pub fn web(name: &str) -> Self {
        Self::with(name, &[("web", &[("good", ""), ("page", "one")])])
    }

    /// Changes a file of an app's tree, or removes it, and publishes.
    pub fn change(&self, app: &str, path: &str, text: Option<&str>) {
        let path = format!("apps/{app}/tree/{path}");
        match text {
            Some(text) => self.fleet.write(&path, text),
            None => fs::remove_file(self.fleet.repository().join(&path)).unwrap(),
        }
        self.publish(&format!("change {path}"));
    }

    /// Commits and publishes.
    pub fn publish(&self, subject: &str) {
        self.fleet.commit(subject);
        self.fleet.publish().well();
    }

    /// Does `act` while nobody answers the device.
    pub fn apart(&self, act: impl FnOnce(&Device)) {
        self.device.configure("zz-apart", "url = \"http://127.0.0.1:1\"\n");
        act(&self.device);
        fs::remove_file(self.device.root().join("etc/tidelock/config.d/zz-apart.toml")).unwrap();
    }

    /// What the hooks of an app noted, each start and stop without its version.
    pub fn story(&self, app: &str) -> String {
        let story = fs::read_to_string(self.device.app(app).join("data/story")).unwrap_or_default();
        story.lines().filter_map(|line| line.split(' ').next()).collect::<Vec<_>>().join(" ")
    }

    /// The page of the live release of `web`.
    pub fn page(&self) -> String {
        String::from_utf8(self.device.live_file("web", "page").unwrap_or_default()).unwrap()
    }

    /// Updates; the exit code must be `code`.
    pub fn update(&self, code: i32) -> Ran {
        let ran = self.device.update();
        assert_eq!(ran.code, code, "{}", ran.said());
        ran
    }
}

fn published(fleet: &Fleet) -> PathBuf {
    fleet.commit("the apps");
    fleet.publish().well();
    fleet.out()
}
