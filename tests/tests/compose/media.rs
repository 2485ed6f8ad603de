//! Video, sound and images, made by scripts on a rootfs that holds nothing else.

use fragment_tests::fragment;

use crate::languages::{output, script};

/// `ffmpeg` without Recommends on Debian 12, beyond what a minbase root has: 234 packages, 409 MB of files.
const DEPENDS: u64 = 409_000_000;

#[test]
fn ffmpeg_encodes_and_probes_video_and_sound() {
    let answer = script(
        "#!/bin/sh\nset -e\ncd /tmp\n\
         make() { ffmpeg -v error -f lavfi -i testsrc=duration=1:size=64x48:rate=10 \"$@\"; }\n\
         sound() { ffmpeg -v error -f lavfi -i sine=duration=1 \"$@\"; }\n\
         make -c:v libx264 -pix_fmt yuv420p a.mp4\nmake -c:v libvpx-vp9 b.webm\nmake -frames:v 1 c.png\n\
         sound -c:a aac d.m4a\nsound -c:a libopus e.ogg\nsound -c:a libmp3lame f.mp3\n\
         for f in a.mp4 b.webm c.png d.m4a e.ogg f.mp3; do\n\
           ffprobe -v error -show_entries stream=codec_name,width,height -of csv=p=0 $f\n\
         done\n",
    );
    assert_eq!(answer, "h264,64,48\nvp9,64,48\npng,64,48\naac\nopus\nmp3\n");
}

#[test]
fn ffmpeg_is_composed_of_no_more_than_its_depends() {
    let plan = fragment::call(&["plan", "--json", "--", "ffmpeg", "-version"])
        .output()
        .ok()
        .json();
    let layers = plan["plan"]["layers"].as_array().expect("layers");
    let plain = layers
        .iter()
        .map(|l| l["size"]["plain"].as_u64().expect("a size"));
    let plain: u64 = plain.sum();
    assert!(plain <= DEPENDS, "{plain}");
}

#[test]
fn php_draws_and_saves_an_image() {
    let answer = output(
        &[(
            "srv/draw.php",
            "<?php\n$i = imagecreatetruecolor(40, 30);\n\
             imagefilledrectangle($i, 0, 0, 39, 29, imagecolorallocate($i, 0, 128, 255));\n\
             imagepng($i, '/tmp/a.png');\nimagejpeg($i, '/tmp/a.jpg');\n\
             foreach (['a.png', 'a.jpg'] as $f) echo implode(' ', array_slice(getimagesize(\"/tmp/$f\"), 0, 3)), \"\\n\";\n",
        )],
        &["php", "/srv/draw.php"],
    );
    assert_eq!(answer, "40 30 3\n40 30 2\n");
}
