# A recipe for Yocto (kirkstone and later): copy it into your layer, and all other files here, and
# LICENSE of the clone, into the folder "files" beside it. A recipe of the name edgead installs
# libedgead, as make install-c.
SUMMARY = "Score what a camera sees with edgead, as a service"
DESCRIPTION = "Takes frames of a camera, scores each with a bundle of edgead, and writes the \
               verdicts as lines of JSON to a Unix socket."
SECTION = "multimedia"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

DEPENDS = "edgead"

SRC_URI = "file://LICENSE \
           file://Makefile \
           file://edgead-camera.service \
           file://firmware.h \
           file://folder.c \
           file://gstreamer.c \
           file://main.c \
           file://output.c \
           file://v4l2.c"
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"

inherit pkgconfig systemd

# One of the cameras.
PACKAGECONFIG ??= "v4l2"
PACKAGECONFIG[folder] = ",,libpng"
PACKAGECONFIG[gstreamer] = ",,gstreamer1.0-plugins-base"
PACKAGECONFIG[v4l2] = ",,"

# RPATH: no path of the build machine gets into the program.
EXTRA_OEMAKE = "CAMERA=${PACKAGECONFIG} BUILD=${B}/build PREFIX=${prefix} UNITS=${systemd_system_unitdir} RPATH="

do_install() {
    oe_runmake install DESTDIR=${D}
}

SYSTEMD_SERVICE:${PN} = "edgead-camera.service"
