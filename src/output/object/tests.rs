//! Names, numbers and answers that were lost, against files and a store in memory.
#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectStore, ObjectStoreExt};
use tempfile::TempDir;

use super::directory::Directory;
use super::store::{Cloud, Large};
use super::*;
use crate::buffer::{ChunkId, ChunkKey, KeyValue};
use crate::config::{Diagnostics, LoadOptions, Surroundings, load_text};
use crate::event::{Batch, BatchBuilder, EventTime, Record, Tag, Value};
use crate::output::service::testing::REGISTRY;
use crate::plugin::Root;
use crate::plugin::testing::process;

/// What a test asks for.
struct Wanted<'a> {
    format: &'a str,
    path: &'a str,
    section: &'a str,
    store_as: StoreAs,
    overwrite: bool,
    index_format: &'a str,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Wanted {
            format: "%{path}%{time_slice}_%{index}.%{file_extension}",
            path: "logs/",
            section: "<format>\n@type json\n</format>\n<buffer time>\ntimekey 3600\ntimekey_use_utc true\n</buffer>",
            store_as: StoreAs::Text,
            overwrite: false,
            index_format: "%d",
        }
    }
}

impl Wanted<'_> {
    fn build(&self) -> Result<Objects, String> {
        let text = format!("<match **>\n@type object\n{}\n</match>\n", self.section);
        let loaded =
            load_text("test.conf", &text, &LoadOptions::new(Surroundings::default())).map_err(|f| f.render())?;
        let (process, mut faults) = (process(false), Diagnostics::new());
        let section = loaded.root.child("match").unwrap();
        let mut cx = BuildContext::new(section, &process, &REGISTRY, &mut faults);
        buffer_defaults(&mut cx);
        let params = ObjectParams {
            key: KeyParams {
                parameter: "object_key_format",
                format: self.format,
                path: self.path,
                extension: self.store_as.extension(),
                time_slice_format: None,
                zone: None,
                index_format: self.index_format,
                hex_length: 8,
                hex: HexDigits::Reversed,
            },
            store_as: self.store_as,
            compress: None,
            render: None,
            overwrite: self.overwrite,
            metadata: None,
            warn_for_delay: None,
        };
        Objects::new(params, &mut cx).map_err(|fault| fault.message)
    }

    fn on(&self, store: Store) -> Objects {
        let objects = self.build().unwrap_or_else(|why| panic!("{why}"));
        objects.open(store);
        objects
    }
}

fn batch(numbers: &[i64]) -> Batch {
    let mut builder = BatchBuilder::new();
    for n in numbers {
        let mut record = Record::new();
        record.set(b"n", Value::Int(*n));
        builder.push(EventTime::from_secs(*n), &record);
    }
    builder.finish(Tag::from("app.web"))
}

/// A chunk of the slice that begins at 2024-05-06 07:00 UTC.
fn chunk(id: u8, numbers: &[i64]) -> Chunk {
    let key = ChunkKey { time: Some(1_714_978_800), tag: Some(Tag::from("app.web")), ..ChunkKey::default() };
    let mut bytes = [0x11; 16];
    bytes[15] = id;
    Chunk::of(key, &batch(numbers)).with_id(ChunkId(bytes))
}

fn with_field(name: &str, value: &str) -> Chunk {
    let fields = vec![(name.into(), KeyValue::new(Value::str(value)))];
    Chunk::of(ChunkKey { time: Some(1_714_978_800), fields, ..ChunkKey::default() }, &batch(&[1]))
}

fn files(dir: &TempDir) -> Store {
    Store::Directory(Directory::new(Root::new(dir.path(), 0o755, 0o644)))
}

/// Files below a directory and what is in them, sorted; hidden ones too.
fn contents(dir: &TempDir) -> Vec<(String, String)> {
    let mut left = vec![dir.path().to_path_buf()];
    let mut found = Vec::new();
    while let Some(at) = left.pop() {
        for path in std::fs::read_dir(at).unwrap().map(|e| e.unwrap().path()) {
            if path.is_dir() {
                left.push(path);
                continue;
            }
            let name = path.strip_prefix(dir.path()).unwrap().display().to_string();
            found.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

fn memory(large: Large) -> (Arc<InMemory>, Store) {
    let store = Arc::new(InMemory::new());
    let attributes = Attributes::from_iter([(Attribute::ContentType, "text/plain")]);
    (store.clone(), Store::Cloud(Cloud { store, large, attributes, place: "mem://".into() }))
}

async fn names(store: &InMemory) -> Vec<String> {
    let listed = store.list_with_delimiter(Some(&Path::from("logs"))).await.unwrap();
    listed.objects.iter().map(|o| o.location.to_string()).collect()
}

#[tokio::test]
async fn chunks_of_a_slice_are_numbered() {
    let dir = TempDir::new().unwrap();
    let objects = Wanted::default().on(files(&dir));
    for id in 1..4 {
        objects.write(&chunk(id, &[i64::from(id)])).await.unwrap();
    }
    let name = |n: u8| format!("logs/2024050607_{n}.txt");
    let wanted = (0..3).map(|n| (name(n), format!("{{\"n\":{}}}\n", n + 1)));
    assert_eq!(contents(&dir), wanted.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_chunk_that_comes_again_is_recognised_by_a_new_process() {
    let dir = TempDir::new().unwrap();
    for id in 1..4 {
        Wanted::default().on(files(&dir)).write(&chunk(id, &[i64::from(id)])).await.unwrap();
    }
    let before = contents(&dir);
    // In another order, by processes that remember nothing.
    for id in [2, 3, 1] {
        Wanted::default().on(files(&dir)).write(&chunk(id, &[i64::from(id)])).await.unwrap();
    }
    assert_eq!(contents(&dir), before);
    let (store, _) = memory(Large::Conditional);
    for id in [1, 2, 1, 2, 2] {
        let cloud = Cloud {
            store: store.clone(),
            large: Large::Conditional,
            attributes: Attributes::new(),
            place: "mem://".into(),
        };
        Wanted::default().on(Store::Cloud(cloud)).write(&chunk(id, &[1])).await.unwrap();
    }
    assert_eq!(names(&store).await, ["logs/2024050607_0.txt", "logs/2024050607_1.txt"]);
}

#[tokio::test]
async fn chunks_with_the_same_events_are_not_the_same() {
    let dir = TempDir::new().unwrap();
    let objects = Wanted::default().on(files(&dir));
    objects.write(&chunk(1, &[7])).await.unwrap();
    objects.write(&chunk(2, &[7])).await.unwrap();
    assert_eq!(contents(&dir).len(), 2);
}

#[tokio::test]
async fn what_others_put_there_is_left_alone() {
    let dir = TempDir::new().unwrap();
    std::fs::create_dir(dir.path().join("logs")).unwrap();
    std::fs::write(dir.path().join("logs/2024050607_0.txt"), "by hand").unwrap();
    Wanted::default().on(files(&dir)).write(&chunk(1, &[1])).await.unwrap();
    let found = contents(&dir);
    assert_eq!(found[0].1, "by hand");
    assert_eq!(found[1], ("logs/2024050607_1.txt".into(), "{\"n\":1}\n".into()));
}

#[tokio::test]
async fn what_a_killed_attempt_left_is_taken_away_and_never_cut() {
    let dir = TempDir::new().unwrap();
    let id = chunk(1, &[1]).id();
    let beside = format!("logs/.2024050607_0.txt.{id}");
    std::fs::create_dir(dir.path().join("logs")).unwrap();
    std::fs::write(dir.path().join(&beside), "half of").unwrap();
    Wanted::default().on(files(&dir)).write(&chunk(1, &[1])).await.unwrap();
    assert_eq!(contents(&dir), [("logs/2024050607_0.txt".to_owned(), "{\"n\":1}\n".to_owned())]);
    // Killed between link and removal: both names are the object.
    std::fs::hard_link(dir.path().join("logs/2024050607_0.txt"), dir.path().join(&beside)).unwrap();
    Wanted::default().on(files(&dir)).write(&chunk(1, &[1])).await.unwrap();
    assert!(contents(&dir).iter().all(|(_, text)| text == "{\"n\":1}\n"), "{:?}", contents(&dir));
}

#[tokio::test]
async fn large_objects_go_in_parts_and_replace_nothing() {
    for large in [Large::Conditional, Large::Copied] {
        let numbers: Vec<i64> = (0..50_000).collect();
        let (store, cloud) = memory(large);
        let mut objects = Wanted { store_as: StoreAs::Gzip, ..Wanted::default() }.on(cloud);
        objects.part = 10_000;
        for id in [1, 2, 1] {
            objects.write(&chunk(id, &numbers)).await.unwrap();
        }
        assert_eq!(names(&store).await, ["logs/2024050607_0.gz", "logs/2024050607_1.gz"], "{large:?}");
        let answer = store.get(&Path::from("logs/2024050607_1.gz")).await.unwrap();
        let id = answer.attributes.get(&Attribute::Metadata(store::ID_METADATA.into())).unwrap().to_string();
        assert_eq!(id, chunk(2, &[]).id().to_string());
        assert_eq!(answer.attributes.get(&Attribute::ContentType).unwrap().as_ref(), "text/plain");
        let packed = answer.bytes().await.unwrap();
        assert!(packed.len() > 30_000, "{} bytes are no test of parts", packed.len());
        let mut text = String::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().count(), numbers.len());
        assert_eq!(text.lines().last(), Some("{\"n\":49999}"));
    }
}

#[tokio::test]
async fn what_is_packed_by_zstd_comes_out_again() {
    let (store, cloud) = memory(Large::Conditional);
    let objects = Wanted { store_as: StoreAs::Zstd(3), ..Wanted::default() }.on(cloud);
    objects.write(&chunk(1, &[1, 2])).await.unwrap();
    let packed = store.get(&Path::from("logs/2024050607_0.zst")).await.unwrap().bytes().await.unwrap();
    assert_eq!(zstd::decode_all(&packed[..]).unwrap(), b"{\"n\":1}\n{\"n\":2}\n");
}

fn key(wanted: &Wanted<'_>, chunk: &Chunk, index: u32) -> String {
    wanted.build().unwrap_or_else(|why| panic!("{why}")).names.key(chunk).unwrap().with(index)
}

#[test]
fn names_are_made_of_the_chunk_alone() {
    let buffer = "<buffer time,tag>\ntimekey 86400\ntimekey_use_utc true\n</buffer>";
    let wanted =
        |format, path, index_format| Wanted { format, path, section: buffer, index_format, ..Wanted::default() };
    let one = chunk(0xab, &[1]);
    let name = |format, path, n| key(&wanted(format, path, "%d"), &one, n);
    assert_eq!(name("%{path}%{time_slice}_%{index}.%{file_extension}", "a/", 7), "a/20240506_7.txt");
    assert_eq!(name("%{path}x_%{index}", "%Y/%m/${tag[1]}/", 0), "2024/05/web/x_0");
    assert_eq!(name("%{path}x_%{index}", "%{time_slice}/", 0), "20240506/x_0");
    assert_eq!(name("%{hex_random}/%{date_slice}", "", 0), "ba111111/20240506");
    assert_eq!(name("%{uuid_flush}", "", 0), "11111111-1111-8111-9111-1111111111ab");
    assert_eq!(name("%{hostname}/${chunk_id}", "", 0), "host.example/111111111111111111111111111111ab");
    assert_eq!(name("%{hms_slice}%{index}", "", 3).len(), 7);
    // Slashes that name nothing are taken out.
    assert_eq!(name("/%{path}//x/%{index}/y", "/a/", 2), "a/x/2/y");
    // Without a number in the format, it goes before the ending.
    assert_eq!(name("%{path}x.%{file_extension}", "", 0), "x.txt");
    assert_eq!(name("%{path}x.%{file_extension}", "", 2), "x_2.txt");
    assert_eq!(name("${tag}/x", "", 2), "app.web/x_2");
    let printed = |index_format| key(&wanted("%{index}", "", index_format), &one, 26);
    assert_eq!([printed("%d"), printed("%04d"), printed("%x"), printed("%04X")], ["26", "0026", "1a", "001A"]);
}

#[test]
fn formats_that_can_not_be_obeyed_are_faults() {
    let fault =
        |format: &str| Wanted { format, ..Wanted::default() }.build().err().unwrap_or_else(|| panic!("{format}"));
    assert!(fault("%{uuid}").contains("is removed"), "{}", fault("%{uuid}"));
    assert!(fault("%{indx}").contains("There are %{path}"));
    assert!(fault("%{index").contains("closing brace"));
    assert!(fault("${tag}").contains("chunk key 'tag' is not configured"));
    for index_format in ["d", "%5d", "%s", "%d!", "%099d"] {
        assert!(Wanted { index_format, ..Wanted::default() }.build().is_err(), "{index_format}");
    }
}

#[test]
fn values_of_events_lead_nowhere_else() {
    let section = "<buffer time,user>\ntimekey 3600\n</buffer>";
    let wanted = Wanted { format: "%{path}${user}/x_%{index}", section, ..Wanted::default() };
    let objects = wanted.build().unwrap_or_else(|why| panic!("{why}"));
    let long = "n".repeat(1100);
    for bad in ["..", "../..", "a/../b", "/etc", "a\nb", "a\0b", ".", "a/./b", "\u{85}", &long] {
        assert!(objects.names.key(&with_field("user", bad)).is_err(), "{bad:?}");
    }
    for (good, name) in [("a/b", "logs/a/b/x_0"), ("%Y%{index}${tag}", "logs/%Y%{index}${tag}/x_0"), ("", "logs/x_0")] {
        assert_eq!(objects.names.key(&with_field("user", good)).unwrap().with(0), name);
    }
}

#[tokio::test]
async fn a_name_that_can_not_be_is_given_up_at_once() {
    let dir = TempDir::new().unwrap();
    let section = "<buffer time,user>\ntimekey 3600\n</buffer>";
    let objects = Wanted { format: "${user}", section, ..Wanted::default() }.on(files(&dir));
    let outcome = objects.write(&with_field("user", "../../x")).await;
    assert!(matches!(outcome, Err(WriteError::Reject(_))), "{outcome:?}");
    let outcome = objects.write(&with_field("user", &"n".repeat(300))).await;
    assert!(matches!(outcome, Err(WriteError::Reject(_))), "{outcome:?}");
    assert!(contents(&dir).is_empty());
}

#[tokio::test]
async fn objects_are_replaced_only_where_that_is_asked_for() {
    let dir = TempDir::new().unwrap();
    let objects = Wanted { format: "latest.txt", overwrite: true, ..Wanted::default() }.on(files(&dir));
    for id in 1..3 {
        objects.write(&chunk(id, &[i64::from(id)])).await.unwrap();
    }
    assert_eq!(contents(&dir), [("latest.txt".to_owned(), "{\"n\":2}\n".to_owned())]);
}

#[test]
fn a_directory_says_whether_it_can_keep_ids() {
    let dir = TempDir::new().unwrap();
    Directory::new(Root::new(dir.path().join("new"), 0o755, 0o644)).check().unwrap();
    assert_eq!(contents(&dir), []);
    let pipe = Directory::new(Root::new("/proc/self/fd", 0o755, 0o644));
    assert!(pipe.check().is_err());
}
