# What OpenWrt's rules.mk says of where things are and how they are installed.
INCLUDE_DIR := $(TOPDIR)
INSTALL_DIR := install -d -m0755
INSTALL_BIN := install -m0755
