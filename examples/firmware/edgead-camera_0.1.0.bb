# A recipe for Yocto (kirkstone and later): copy it into your layer, and all other files here into
# the folder "files" beside it. A recipe of the name edgead installs libedgead, as make install-c.
SUMMARY = "Score what a camera sees with edgead, as a service"
DESCRIPTION = "Takes frames of a camera, scores each with a bundle of edgead, and writes the \
               verdicts as lines of JSON to a Unix socket."
SECTION = "multimedia"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

# v4l2, gstreamer or folder
EDGEAD_CAMERA ?= "v4l2"
DEPENDS = "edgead"
DEPENDS += "${@{'gstreamer': 'gstreamer1.0-plugins-base', 'folder': 'libpng'}.get(d.getVar('EDGEAD_CAMERA'), '')}"

SRC_URI = "file://Makefile \
           file://edgead-camera.service \
           file://firmware.h \
           file://folder.c \
           file://gstreamer.c \
           file://main.c \
           file://output.c \
           file://v4l2.c"
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"

inherit pkgconfig systemd

# RPATH: no path of the build machine gets into the program.
EXTRA_OEMAKE = "CAMERA=${EDGEAD_CAMERA} BUILD=${B}/build PREFIX=${prefix} UNITS=${systemd_system_unitdir} RPATH="

do_install() {
    oe_runmake install DESTDIR=${D}
}

SYSTEMD_SERVICE:${PN} = "edgead-camera.service"
