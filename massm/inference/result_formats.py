"""The files a result can be written as."""

MESH_FORMATS = ('ply', 'stl', 'vtk')
# All that need no DICOM input.
FILE_FORMATS = ('particles', *MESH_FORMATS, 'labels', 'markups')
FORMATS = (*FILE_FORMATS, 'dicomseg')
DEFAULT_FORMATS = ('particles', 'ply', 'labels')
