//! Folders of images with a table of labels: which column is which, and everything that can be wrong. Nothing is decoded, so
//! the images are empty.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test"
)]

use std::path::Path;

use regraft_data::source::{ImageFolder, LabelFile, Layout, Part, display};
use tempfile::TempDir;

/// A folder `images` with those files, and the table `labels.csv` beside it.
fn place(images: &[&str], table: &str) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    for name in images {
        let path = place.path().join("images").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"").unwrap();
    }
    std::fs::write(place.path().join("labels.csv"), table).unwrap();
    place
}

fn table(place: &TempDir) -> LabelFile {
    LabelFile { path: place.path().join("labels.csv"), file_column: None, label_column: None }
}

fn read(place: &TempDir) -> ImageFolder {
    ImageFolder::labelled(&place.path().join("images"), &table(place)).unwrap()
}

/// `a.png cat` for each item, in order.
fn labels(folder: &ImageFolder) -> Vec<String> {
    let item = |item: &regraft_data::source::Item| {
        format!("{} {}", display(&item.relative), folder.classes[item.class])
    };
    folder.items.iter().map(item).collect()
}

/// The message about a table for images `a.png`, `b.png`, `c.jpg`, `deep/d.png`.
fn refused(text: &str) -> String {
    let place = place(&IMAGES, text);
    let error = ImageFolder::labelled(&place.path().join("images"), &table(&place)).unwrap_err().to_string();
    error.replace(place.path().to_str().unwrap(), "PLACE")
}

const IMAGES: [&str; 4] = ["a.png", "b.png", "c.jpg", "deep/d.png"];

#[test]
fn classes_and_lines_come_from_the_table_and_the_rest_is_left_out() {
    let place = place(&IMAGES, "file,label\ndeep/d.png,Dog\nb.png,cat\n\na.png,Dog\n");
    let folder = read(&place);
    assert_eq!(labels(&folder), ["a.png Dog", "b.png cat", "deep/d.png Dog"]);
    assert_eq!((folder.layout, folder.ignored), (Layout::LabelFile, 0));
    let source = folder.labels.as_ref().unwrap();
    assert_eq!((source.lines.as_slice(), source.without_row), (&[5, 3, 2][..], 1));
    assert_eq!(folder.line_of_class(0), Some(2), "of the class's first row, not of its first image");
    assert!(folder.items.iter().all(|item| item.part == Part::Unsplit && item.path.is_file()));
    let other = self::place(&IMAGES, "file,label\ndeep/d.png,Dog\nb.png,cat\na.png,Dog\n");
    assert_ne!(read(&other).labels.unwrap().content, source.content);
}

#[test]
fn names_need_no_ending_and_may_be_written_in_every_usual_way() {
    for name in ["deep/d.png", "deep/d", "./deep/d.png", "deep\\d.png", "deep/../deep/d"] {
        let place = place(&IMAGES, &format!("id,target\n{name},1\nb,0\n"));
        assert_eq!(labels(&read(&place)), ["b.png 0", "deep/d.png 1"], "{name}");
    }
    let place = place(&IMAGES, "");
    let absolute = place.path().join("images/a.png");
    std::fs::write(place.path().join("labels.csv"), format!("path,y\n{},1\nb,0\n", absolute.display()))
        .unwrap();
    assert_eq!(labels(&read(&place)), ["a.png 1", "b.png 0"]);
}

#[test]
fn columns_are_found_by_what_they_hold() {
    for text in [
        ",file,label,note\n0,a.png,x,b.png\n1,b.png,y,b.png\n",
        "note\tCLASS\tpicture\nb.png\tx\ta.png\nb.png\ty\tb.png\n",
        "id,filename,kind\na,a.png,x\nb,b.png,y\n",
        "kind;name;split\nx;a;train\ny;b;train\n",
    ] {
        assert_eq!(labels(&read(&place(&IMAGES, text))), ["a.png x", "b.png y"], "{text}");
    }
    // Numbers as labels that are names of images, too: the column that names more images has the files.
    let numbered = place(&["0.png", "1.png", "2.png", "3.png"], "id,digit\n0,1\n1,0\n2,1\n3,0\n");
    assert_eq!(labels(&read(&numbered)), ["0.png 1", "1.png 0", "2.png 1", "3.png 0"]);
}

#[test]
fn columns_that_were_asked_for_count() {
    let place = place(&IMAGES, "left,right,class,category\na,b,x,1\nb,a,y,2\n");
    let of = |file: Option<&str>, label: Option<&str>| {
        let [file_column, label_column] = [file, label].map(|name| name.map(str::to_owned));
        ImageFolder::labelled(
            &place.path().join("images"),
            &LabelFile { file_column, label_column, ..table(&place) },
        )
    };
    assert_eq!(labels(&of(Some("right"), Some("Category")).unwrap()), ["a.png 2", "b.png 1"]);
    let error = |file, label| of(file, label).unwrap_err().to_string();
    let columns = "the columns are \"left\", \"right\", \"class\", \"category\"";
    assert!(error(None, Some("class")).contains("line 1: which column has the names of the files"));
    let labels = error(Some("left"), None);
    assert!(labels.contains("--label-column NAME") && labels.contains(columns), "{labels}");
    let unknown = error(Some("Left"), Some("klass"));
    assert!(unknown.contains("no column \"klass\"") && unknown.contains(columns), "{unknown}");
}

#[test]
fn a_split_is_what_folders_would_be() {
    let table = "file,label,Split\na.png,x,train\nb.png,y,Train\nc,x,valid\ndeep/d,y,test\n";
    let folder = read(&place(&IMAGES, table));
    let parts = [Part::Train, Part::Validation, Part::Test].map(|part| folder.part(part));
    assert_eq!(parts, [vec![0, 1], vec![2], vec![3]]);
    folder.check_training(1).unwrap();
    let single = folder.check_training(2).unwrap_err().to_string();
    assert!(
        single.contains("line 2: the class \"x\" has a single image") && single.contains("1 more"),
        "{single}"
    );
    let missing = read(&place(&IMAGES, "file,label,split\na,x,train\nb,x,train\nc,z,test\n"));
    let missing = missing.check_training(1).unwrap_err().to_string();
    assert!(missing.contains("line 4: the class \"z\" has no image to learn from"), "{missing}");
    let nothing = read(&place(&IMAGES, "file,label,split\na,x,test\nb,y,test\n"));
    assert!(nothing.check_training(1).unwrap_err().to_string().contains("no row has the split train"));
}

#[test]
fn whatever_is_wrong_is_named_with_its_line() {
    for (text, words) in [
        ("", &["has no rows"][..]),
        ("file,label\n", &["has no rows"]),
        ("file,label\na,x\nb\n", &["line 3", "has 1 fields and the header 2"]),
        ("file,label\na,x\nb,\n", &["line 3", "\"b\" has no label"]),
        ("file,label\na,x\nb,\"y\nc,x\n", &["line 3", "a quote is not closed"]),
        ("file,label\na,x\nb,x\n", &["line 2", "\"x\"", "two classes"]),
        ("file,label\na,x\nb,y\na.png,y\n", &["line 4: a.png is \"y\", but \"x\" in line 2"]),
        ("file,label,split\na,x,train\nb,y,dev\n", &["line 3", "split \"dev\"", "valid"]),
        (
            "file,label,split\na,x,train\nb,y,train\na,x,val\n",
            &["line 4: a.png is in validation, but in train"],
        ),
        ("file,label\na,x\n../images/b.png,y\n", &["line 3", "../images/b.png", "leads out of"]),
        ("file,label\na,x\n/etc/passwd,y\n", &["line 3", "/etc/passwd", "leads out of"]),
        (
            "file,label\na,x\nb.pn,y\nzz,y\n1,y\n2,y\n",
            &["4 of 5 rows", "\"b.pn\" (line 3)", "\"1\" (line 5): did"],
        ),
        ("file,label\na,x\nd.png,y\n", &["\"d.png\" (line 3)", "it is in PLACE/images/deep, give that"]),
        ("file,label\nimages/a.png,x\nimages/b.png,y\n", &["2 of 2", "it is in PLACE, give that"]),
        (
            "one,two\nq,x\nr,y\n",
            &["no column names images", "q, x", "--file-column NAME", "\"one\", \"two\""],
        ),
    ] {
        let message = refused(text);
        for word in words.iter().chain([&"PLACE/labels.csv"]) {
            let word = word.replace(": did", "");
            assert!(message.contains(&word), "no {word:?} for {text:?} in {message}");
        }
        if words.iter().any(|word| word.ends_with(": did")) {
            assert!(message.ends_with("did you mean \"b.png\"?"), "{message}");
        }
    }
}

#[test]
fn files_that_are_no_tables() {
    let place = place(&IMAGES, "");
    let path = place.path().join("labels.csv");
    let error = |path: &Path| {
        let labels = LabelFile { path: path.to_path_buf(), ..table(&place) };
        ImageFolder::labelled(&place.path().join("images"), &labels).unwrap_err().to_string()
    };
    std::fs::write(&path, b"file,label\na,x\nb,caf\xe9\n").unwrap();
    assert!(error(&path).contains("line 3: not UTF-8"));
    assert!(error(place.path()).contains("cannot be read"));
    assert!(error(&place.path().join("label.csv")).contains("does not exist"));
    std::fs::File::create(&path).unwrap().set_len((256 << 20) + 1).unwrap();
    assert!(error(&path).contains("at most 268435456"));
    std::fs::write(place.path().join("images/t.csv"), "file,label\n").unwrap();
    assert!(error(Path::new("t.csv")).contains("images/t.csv exists"));
}

#[test]
fn names_that_only_the_ending_tells_apart_need_it_and_other_files_are_no_images() {
    let images = ["a.png", "a.jpg", "b.png", "c.dcm"];
    let error = |text: &str| {
        let place = place(&images, text);
        ImageFolder::labelled(&place.path().join("images"), &table(&place)).unwrap_err().to_string()
    };
    assert!(error("file,label\nb,x\na,y\n").contains("line 3: \"a\" may be a.jpg or a.png"));
    assert_eq!(labels(&read(&place(&images, "file,label\nb,x\na.png,y\n"))), ["a.png y", "b.png x"]);
    assert!(error("file,label\nb,x\nc.dcm,y\n").contains("it is there, but hidden, or with another ending"));
}
