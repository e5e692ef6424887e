"""Stand-in for Slicer's module SampleData: how sources are registered, fetched into the cache and loaded."""

import logging
import os
import urllib.request
from urllib.parse import urlparse

import slicer
import vtk
from slicer.util import computeChecksum, extractAlgoAndDigest

_FIELDS = (
    "sampleName",
    "sampleDescription",
    "thumbnailFileName",
    "loadFileProperties",
    "customDownloader",
    "fileNames",
    "uris",
    "checksums",
    "nodeNames",
    "loadFiles",
    "loadFileTypes",
)


def downloadSample(sampleName):
    """First node of a sample."""
    return SampleDataLogic().downloadSamples(sampleName)[0]


def downloadSamples(sampleName):
    """Nodes of a sample."""
    return SampleDataLogic().downloadSamples(sampleName)


class SampleDataSource:
    """Files of one sample."""

    def __init__(
        self,
        sampleName=None,
        sampleDescription=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        checksums=None,
        loadFiles=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFileProperties=None,
        loadFileType=None,
    ):
        loadFileTypes = loadFileTypes if loadFileTypes is not None else loadFileType
        if isinstance(uris, str):
            uris, fileNames, nodeNames, loadFiles = [uris], [fileNames], [nodeNames], [loadFiles]
            loadFileTypes, checksums = [loadFileTypes], [checksums]
        else:
            count = len(uris)
            if isinstance(loadFileTypes, str) or loadFileTypes is None:
                loadFileTypes = [loadFileTypes] * count
            nodeNames = [None] * count if nodeNames is None else nodeNames
            loadFiles = [None] * count if loadFiles is None else loadFiles
            checksums = [None] * count if checksums is None else checksums
        self.sampleName, self.sampleDescription = sampleName, sampleDescription or sampleName
        self.uris, self.fileNames, self.nodeNames, self.checksums = uris, fileNames, nodeNames, checksums
        self.loadFiles, self.loadFileTypes = loadFiles, loadFileTypes
        self.customDownloader, self.thumbnailFileName = customDownloader, thumbnailFileName
        self.loadFileProperties = loadFileProperties or {}
        if len({len(field) for field in (uris, fileNames, nodeNames, loadFiles, loadFileTypes, checksums)}) > 1:
            raise ValueError("All fields of sample data source must have the same length")

    def __eq__(self, other):
        return str(self) == str(other)

    def __str__(self):
        return "\n".join(f"{name}: {getattr(self, name)}" for name in _FIELDS)


class SampleDataLogic:
    """Registers, fetches, loads."""

    @staticmethod
    def registerCustomSampleDataCategory(category, title):
        """Title of a category."""
        _ofModules("sampleDataSourceCategories").setdefault(category, {})["title"] = title

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFiles=None,
        loadFileProperties={},
        checksums=None,
        loadFileType=None,
    ):
        """Add a sample."""
        source = SampleDataSource(
            sampleName=sampleName,
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            checksums=checksums,
            loadFiles=loadFiles,
            customDownloader=customDownloader,
            thumbnailFileName=thumbnailFileName,
            loadFileTypes=loadFileTypes,
            loadFileProperties=loadFileProperties,
            loadFileType=loadFileType,
        )
        sources = _ofModules("sampleDataSources").setdefault(category, [])
        if source not in sources:
            sources.append(source)

    @staticmethod
    def sampleDataSourcesByCategory(category=None):
        """All sources, or those of a category."""
        sources = _ofModules("sampleDataSources")
        return sources if category is None else sources.get(category, [])

    @staticmethod
    def isSampleDataSourceRegistered(category, sampleDataSource):
        """Whether a source is known."""
        return sampleDataSource in _ofModules("sampleDataSources").get(category, [])

    @staticmethod
    def registerUrlRewriteRule(name, rewriteFunction):
        """A function that each address goes through before it is opened."""
        if not callable(rewriteFunction):
            raise TypeError(f"Expected 'rewriteFunction' to be callable, got {type(rewriteFunction)}")
        _ofModules("sampleDataUrlRewriteRules")[name] = rewriteFunction

    def __init__(self, logMessage=None):
        if logMessage:
            self.logMessage = logMessage
        _ofModules("sampleDataSources")

    def downloadFileIntoCache(self, uri, name, checksum=None, forceDownload=False):
        """Path of a file in the cache folder."""
        folder = slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory()
        os.makedirs(folder, exist_ok=True)
        return self.downloadFile(uri, folder, name, checksum, forceDownload=forceDownload)

    def downloadSourceIntoCache(self, source):
        """Paths of all files of a source."""
        parts = zip(source.uris, source.fileNames, source.checksums, strict=False)
        return [self.downloadFileIntoCache(uri, name, checksum) for uri, name, checksum in parts]

    def downloadFromSource(self, source, maximumAttemptsCount=3, forceDownload=False):
        """Fetch and load; the source's own downloader is not asked."""
        loaded, paths = [], []
        parts = zip(
            source.uris, source.fileNames, source.nodeNames, source.checksums, source.loadFileTypes, strict=False
        )
        for uri, givenName, nodeName, checksum, fileType in parts:
            fileName = givenName or os.path.basename(urlparse(uri).path)
            for attempt in range(1, maximumAttemptsCount + 1):
                try:
                    path = self.downloadFileIntoCache(uri, fileName, checksum, forceDownload=forceDownload)
                except ValueError:
                    self.logMessage(f"Download failed (attempt {attempt} of {maximumAttemptsCount})...", logging.ERROR)
                    continue
                if not nodeName:
                    paths.append(path)
                    break
                node = self.loadNode(path, nodeName, fileType, dict(source.loadFileProperties))
                if node:
                    loaded.append(node)
                    break
                os.remove(path)
                self.logMessage(f"Load failed (attempt {attempt} of {maximumAttemptsCount})...", logging.ERROR)
        return loaded or paths

    def sourceForSampleName(self, sampleName):
        """The source of a name, or None."""
        sources = [source for sources in _ofModules("sampleDataSources").values() for source in sources]
        return next((source for source in sources if source.sampleName == sampleName), None)

    def downloadFromURL(
        self,
        uris=None,
        fileNames=None,
        nodeNames=None,
        checksums=None,
        loadFiles=None,
        customDownloader=None,
        loadFileTypes=None,
        loadFileProperties={},
        forceDownload=False,
    ):
        """Fetch and load what no source describes."""
        source = SampleDataSource(
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            loadFiles=loadFiles,
            loadFileTypes=loadFileTypes,
            loadFileProperties=loadFileProperties,
            checksums=checksums,
            customDownloader=customDownloader,
        )
        return self.downloadFromSource(source, forceDownload=forceDownload)

    def downloadSample(self, sampleName):
        """First node of a sample."""
        return self.downloadSamples(sampleName)[0]

    def downloadSamples(self, sampleName):
        """Nodes of a sample."""
        source = self.sourceForSampleName(sampleName)
        return self.downloadFromSource(source) if source else []

    def logMessage(self, message, logLevel=logging.DEBUG):
        """Tell what happens."""
        logging.log(logLevel, message)

    @staticmethod
    def rewriteUrl(url):
        """An address after all rules."""
        for rule in _ofModules("sampleDataUrlRewriteRules").values():
            url = rule(url)
        return url

    def downloadFile(self, uri, destFolderPath, name, checksum=None, forceDownload=False):
        """A file in a folder; one that is there is kept where its checksum, if there is one, is right."""
        uri, path = self.rewriteUrl(uri), f"{destFolderPath}/{name}"
        algorithm, digest = extractAlgoAndDigest(checksum)
        if forceDownload or not os.path.exists(path) or os.stat(path).st_size == 0:
            self.logMessage(f"Requesting download {name} from {uri} ...")
            try:
                urllib.request.urlretrieve(uri, path)
            except OSError as error:
                self.logMessage(f"\tDownload failed: {error}", logging.ERROR)
                raise ValueError(f"Failed to download {uri} to {path}") from error
            if algorithm is not None and computeChecksum(algorithm, path) != digest:
                self.logMessage("Checksum verification failed.")
                os.remove(path)
        elif algorithm is not None and computeChecksum(algorithm, path) != digest:
            os.remove(path)
            return self.downloadFile(uri, destFolderPath, name, checksum)
        return path

    def loadNode(self, uri, name, fileType=None, fileProperties={}):
        """First node of a file, without its storage node, or None."""
        fileProperties["fileName"] = uri
        if name:
            fileProperties["name"] = name
        manager, nodes = slicer.app.coreIOManager(), vtk.vtkCollection()
        loaded = manager.loadNodes(fileType or manager.fileType(uri), fileProperties, nodes)
        if not loaded and nodes.GetNumberOfItems() < 1:
            self.logMessage("\tLoad failed!", logging.ERROR)
            return None
        for index in range(nodes.GetNumberOfItems()):
            node = nodes.GetItemAsObject(index)
            storage = node.GetStorageNode() if node.IsA("vtkMRMLStorableNode") else None
            if storage:
                slicer.mrmlScene.RemoveNode(storage)
                node.SetAndObserveStorageNodeID(None)
        return nodes.GetItemAsObject(0) or slicer.mrmlScene


class SampleDataWidget:
    """Of the panel only what its buttons do."""

    @staticmethod
    def setCategoriesFromSampleDataSources(categoryLayout, dataSources, logic):
        """A button for each source: its own downloader where it has one."""
        import qt

        for sources in dataSources.values():
            for source in sources:
                button = qt.QToolButton()
                button.setText(source.sampleDescription or source.nodeNames[0])
                button.name = f"{source.sampleName}PushButton"
                categoryLayout.addWidget(button)
                if source.customDownloader:
                    button.connect("clicked()", lambda s=source: s.customDownloader(s))
                else:
                    button.connect("clicked()", lambda s=source: logic.downloadFromSource(s))


def _ofModules(name):
    if not hasattr(slicer.modules, name):
        setattr(slicer.modules, name, {})
    return getattr(slicer.modules, name)
