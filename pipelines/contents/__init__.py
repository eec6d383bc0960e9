"""Describe artifacts on disk for ``five inspect``: tables, HDF5 files, outlines and output folders."""

from pipelines.contents.contents import CAN_BE, Contents
from pipelines.contents.folders import folder_contents
from pipelines.contents.geojson import geojson_contents
from pipelines.contents.hdf5 import hdf5_contents
from pipelines.contents.tables import table_contents

__all__ = ["CAN_BE", "Contents", "folder_contents", "geojson_contents", "hdf5_contents", "table_contents"]
