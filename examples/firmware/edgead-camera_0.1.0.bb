# A recipe for Yocto (kirkstone or newer). It takes libedgead from a recipe of the name edgead, which
# installs what "make install-c" does; EDGEAD_CAMERA is v4l2, gstreamer or folder.
SUMMARY = "Score what a camera sees with edgead, as a service"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

FILESEXTRAPATHS:prepend := "${THISDIR}:"
SRC_URI = "file://Makefile file://firmware.h file://main.c file://output.c file://folder.c \
           file://v4l2.c file://gstreamer.c file://edgead-camera.service"
S = "${WORKDIR}"

inherit pkgconfig systemd

EDGEAD_CAMERA ?= "v4l2"
DEPENDS = "edgead"
DEPENDS += "${@{'gstreamer': 'gstreamer1.0-plugins-base', 'folder': 'libpng'}.get(d.getVar('EDGEAD_CAMERA'), '')}"

# Nothing of the build machine may get into the program: no path of libraries, no pkg-config of it.
EXTRA_OEMAKE = "CAMERA=${EDGEAD_CAMERA} BUILD=${B}/build PREFIX=${prefix} UNITS=${systemd_system_unitdir} RPATH="

do_compile() {
    oe_runmake
}

do_install() {
    oe_runmake install DESTDIR=${D}
    sed -i 's,/usr/local/bin,${bindir},' ${D}${systemd_system_unitdir}/edgead-camera.service
}

SYSTEMD_SERVICE:${PN} = "edgead-camera.service"
