"""Writes the phantom's CT in every form that scans come in, whole and broken."""

import gzip
import locale
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nibabel.load(path)
    return np.asanyarray(image.dataobj).astype(np.float32), image.affine


def nifti(path: Path, data: np.ndarray, affine: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    return path


def nifti_bytes(data: np.ndarray, affine: np.ndarray) -> bytes:
    return nibabel.Nifti1Image(data, affine).to_bytes()


def reordered(data: np.ndarray, affine: np.ndarray, codes: str) -> tuple[np.ndarray, np.ndarray]:
    """The same patient, stored in another axis order."""
    image = nibabel.Nifti1Image(data, affine)
    start = nibabel.io_orientation(affine)
    turn = nibabel.orientations.ornt_transform(start, nibabel.orientations.axcodes2ornt(codes))
    turned = image.as_reoriented(turn)
    return np.asanyarray(turned.dataobj), turned.affine


def itk_image(data: np.ndarray, affine: np.ndarray) -> sitk.Image:
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def dicom(
    folder: Path,
    data: np.ndarray,
    affine: np.ndarray,
    series: str = '1.2.3.4',
    modality: str = 'CT',
    shear: float = 0.0,
    patient: str = '',
) -> Path:
    """A series of slices along the last axis; ``shear`` mm a slice as a tilted gantry has it."""
    folder.mkdir(parents=True, exist_ok=True)
    before = locale.setlocale(locale.LC_ALL)
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    rows, columns = lps[:3, 0] / spacing[0], lps[:3, 1] / spacing[1]
    for k in range(data.shape[2]):
        position = lps[:3, 3] + k * lps[:3, 2] + k * shear * columns
        plane = sitk.GetImageFromArray(np.ascontiguousarray(data[:, :, k].T[None]).astype(np.int16))
        plane.SetSpacing((float(spacing[0]), float(spacing[1]), float(spacing[2])))
        tags = {
            '0008|0060': modality,
            '0020|000e': series,
            '0020|000d': '1.2.3',
            '0010|0020': patient,
            '0008|0018': f'{series}.{k + 1}',
            '0020|0013': str(k),
            '0020|0032': '\\'.join(f'{v:.6f}' for v in position),
            '0020|0037': '\\'.join(f'{v:.6f}' for v in (*rows, *columns)),
            '0018|0050': f'{spacing[2]:.3f}',
            '0028|1052': '0',
            '0028|1053': '1',
        }
        for tag, value in tags.items():
            plane.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f'{series}_{k:03d}.dcm'))
        writer.Execute(plane)
    locale.setlocale(locale.LC_ALL, before)  # which GDCM's writer sets to C
    return folder


def zipped(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f'scan/{file.name}')
    return path


def truncated_gzip(path: Path, data: np.ndarray, affine: np.ndarray) -> Path:
    whole = gzip.compress(nifti_bytes(data.astype(np.int16), affine))
    path.write_bytes(whole[: len(whole) // 2])
    return path


def dicom_with_pydicom(folder: Path, planes: list[dict], affine: np.ndarray) -> Path:
    """A series written tag by tag: each plane brings ``pixels`` ``[X, Y]`` or ``[X, Y, 3]`` as they
    are stored, and its own tags."""
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    folder.mkdir(parents=True, exist_ok=True)
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    for k, plane in enumerate(planes):
        tags, pixels = dict(plane), plane['pixels'].swapaxes(0, 1)
        del tags['pixels']
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = '1.2.840.10008.5.1.4.1.1.2'
        meta.MediaStorageSOPInstanceUID = f'1.2.3.4.{k + 1}'
        d = pydicom.Dataset()
        d.file_meta = meta
        d.SOPClassUID, d.SOPInstanceUID = meta.MediaStorageSOPClassUID, f'1.2.3.4.{k + 1}'
        d.SeriesInstanceUID, d.StudyInstanceUID, d.Modality = '1.2.3.4', '1.2.3', 'CT'
        d.Rows, d.Columns, d.InstanceNumber = *pixels.shape[:2], k
        d.ImagePositionPatient = [float(v) for v in lps[:3, 3] + k * lps[:3, 2]]
        d.ImageOrientationPatient = [
            float(v) for v in (*lps[:3, 0] / spacing[0], *lps[:3, 1] / spacing[1])
        ]
        d.PixelSpacing = [float(spacing[1]), float(spacing[0])]
        d.SamplesPerPixel, d.PhotometricInterpretation = 1, 'MONOCHROME2'
        bits = 8 * pixels.dtype.itemsize
        d.BitsAllocated, d.BitsStored, d.HighBit = bits, bits, bits - 1
        d.PixelRepresentation = int(pixels.dtype.kind == 'i')
        for name, value in tags.items():
            setattr(d, name, value)
        d.PixelData = np.ascontiguousarray(pixels).tobytes()
        d.save_as(folder / f's{k:03d}.dcm', enforce_file_format=True)
    return folder
